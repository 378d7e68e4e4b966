//! The system calls that nothing in a sandbox may make. A list of what is denied, not of what is allowed: Node, Python and Go
//! change what they call from version to version. Compiled to a binary search, which keeps both the filter's cost per call and
//! the kernel's work at installing it small (it runs the filter once for each call number).

mod denied;

use crate::sys;
use denied::{DENIED, DENIED_HERE};
use std::io;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_KILL: u32 = 0x8000_0000;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// Low half of argument `n`; both architectures are little-endian.
const fn offset_arg(n: u32) -> u32 {
    16 + 8 * n
}

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;

/// Namespaces that `clone` could make.
const CLONE_NEW: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32
    | 0x80;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Deny,
    /// ENOSYS: libc then uses `clone`, whose flags can be read.
    NotThere,
    Clone,
    Socket,
    Ioctl,
}

/// A filter program, made once by the launcher.
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    pub fn new() -> Filter {
        let mut table: Vec<(u32, Action)> =
            DENIED.iter().chain(DENIED_HERE).map(|&number| (number as u32, Action::Deny)).collect();
        table.push((libc::SYS_clone3 as u32, Action::NotThere));
        table.push((libc::SYS_clone as u32, Action::Clone));
        table.push((libc::SYS_socket as u32, Action::Socket));
        table.push((libc::SYS_ioctl as u32, Action::Ioctl));
        table.sort_unstable_by_key(|(number, _)| *number);
        table.dedup_by_key(|(number, _)| *number);

        let mut code = vec![
            op(LOAD, 0, 0, OFFSET_ARCH),
            op(IF_EQUAL, 1, 0, ARCH),
            op(RETURN, 0, 0, RET_KILL),
            op(LOAD, 0, 0, OFFSET_NR),
        ];
        if cfg!(target_arch = "x86_64") {
            // x32 numbers the same calls anew.
            code.push(op(IF_AT_LEAST, 0, 1, 0x4000_0000));
            code.push(op(RETURN, 0, 0, errno(libc::ENOSYS)));
        }
        search(&mut code, &table);
        Filter(code)
    }

    /// Binds this process and its children for good. Needs no_new_privs, or privilege.
    pub fn install(&self) -> io::Result<()> {
        const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
        let program = libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr() as *mut libc::sock_filter };
        // SAFETY: `program` and the code it points at live over the call; the kernel only reads them.
        sys::check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) }).map(drop)
    }
}

fn op(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn errno(errno: i32) -> u32 {
    RET_ERRNO | errno as u32
}

/// Appends code that finds the accumulator in a sorted table and returns its action, or allows.
fn search(code: &mut Vec<libc::sock_filter>, table: &[(u32, Action)]) {
    match table {
        [] => code.push(op(RETURN, 0, 0, RET_ALLOW)),
        [(number, action)] => {
            code.push(op(IF_EQUAL, 1, 0, *number));
            code.push(op(RETURN, 0, 0, RET_ALLOW));
            perform(code, *action);
        }
        _ => {
            let (low, high) = table.split_at(table.len() / 2);
            let mut right = Vec::new();
            search(&mut right, high);
            let mut left = Vec::new();
            search(&mut left, low);
            // A conditional jump reaches 255 ahead, an unconditional one any distance: the larger half lies behind the latter.
            const JUMP: u16 = 0x05;
            code.push(op(IF_AT_LEAST, 0, 1, high[0].0));
            code.push(op(JUMP, 0, 0, left.len() as u32));
            code.extend(left);
            code.extend(right);
        }
    }
}

fn perform(code: &mut Vec<libc::sock_filter>, action: Action) {
    let deny = op(RETURN, 0, 0, errno(libc::EPERM));
    let allow = op(RETURN, 0, 0, RET_ALLOW);
    match action {
        Action::Deny => code.push(deny),
        Action::NotThere => code.push(op(RETURN, 0, 0, errno(libc::ENOSYS))),
        Action::Clone => code.extend([op(LOAD, 0, 0, offset_arg(0)), op(IF_ANY_BIT, 0, 1, CLONE_NEW), deny, allow]),
        Action::Ioctl => code.extend([
            op(LOAD, 0, 0, offset_arg(1)),
            op(IF_EQUAL, 1, 0, TIOCSTI),
            op(IF_EQUAL, 0, 1, TIOCLINUX),
            deny,
            allow,
        ]),
        // unix, inet and inet6; netlink only for routes (protocol 0), which tells interfaces and addresses.
        Action::Socket => code.extend([
            op(LOAD, 0, 0, offset_arg(0)),
            op(IF_EQUAL, 6, 0, libc::AF_UNIX as u32),
            op(IF_EQUAL, 5, 0, libc::AF_INET as u32),
            op(IF_EQUAL, 4, 0, libc::AF_INET6 as u32),
            op(IF_EQUAL, 0, 2, libc::AF_NETLINK as u32),
            op(LOAD, 0, 0, offset_arg(2)),
            op(IF_EQUAL, 1, 0, 0),
            deny,
            allow,
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel does.
    fn verdict(filter: &Filter, arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend_from_slice(&number.to_le_bytes());
        data.extend_from_slice(&arch.to_le_bytes());
        data.extend_from_slice(&[0; 8]);
        args.iter().for_each(|arg| data.extend_from_slice(&arg.to_le_bytes()));
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let op = &filter.0[at];
            at += 1;
            let mut branch = |holds: bool| at += usize::from(if holds { op.jt } else { op.jf });
            match op.code {
                LOAD => {
                    let from = op.k as usize;
                    accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x05 => at += op.k as usize,
                IF_EQUAL => branch(accumulator == op.k),
                IF_AT_LEAST => branch(accumulator >= op.k),
                IF_ANY_BIT => branch(accumulator & op.k != 0),
                RETURN => return op.k,
                other => panic!("unknown code {other}"),
            }
        }
    }

    #[test]
    fn every_listed_call_is_denied_and_every_other_allowed() {
        let filter = Filter::new();
        let listed: Vec<u32> = DENIED.iter().chain(DENIED_HERE).map(|&number| number as u32).collect();
        for number in 0..600 {
            let wanted = if listed.contains(&number) {
                errno(libc::EPERM)
            } else if number == libc::SYS_clone3 as u32 {
                errno(libc::ENOSYS)
            } else {
                RET_ALLOW
            };
            if number == libc::SYS_socket as u32 {
                continue;
            }
            assert_eq!(verdict(&filter, ARCH, number, [0; 6]), wanted, "call {number}");
        }
    }

    #[test]
    fn other_architectures_are_killed_and_x32_is_not_there() {
        let filter = Filter::new();
        assert_eq!(verdict(&filter, 0x4000_0003, 1, [0; 6]), RET_KILL);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(verdict(&filter, ARCH, 0x4000_0001, [0; 6]), errno(libc::ENOSYS));
        }
    }

    #[test]
    fn arguments_decide_for_clone_socket_and_ioctl() {
        let filter = Filter::new();
        let call = |number: libc::c_long, args: [u64; 6]| verdict(&filter, ARCH, number as u32, args);
        let clone = |flags: i32| call(libc::SYS_clone, [flags as u64, 0, 0, 0, 0, 0]);
        assert_eq!(clone(libc::CLONE_VM | libc::CLONE_THREAD | libc::SIGCHLD), RET_ALLOW);
        assert_eq!(clone(libc::CLONE_NEWUSER | libc::SIGCHLD), errno(libc::EPERM));
        assert_eq!(clone(libc::CLONE_NEWNS), errno(libc::EPERM));
        let socket = |family: i32, protocol: u64| call(libc::SYS_socket, [family as u64, 1, protocol, 0, 0, 0]);
        for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
            assert_eq!(socket(family, 6), RET_ALLOW);
        }
        assert_eq!(socket(libc::AF_NETLINK, 0), RET_ALLOW);
        assert_eq!(socket(libc::AF_NETLINK, 12), errno(libc::EPERM));
        for family in [libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, 0, 38] {
            assert_eq!(socket(family, 0), errno(libc::EPERM));
        }
        let ioctl = |request: u32| call(libc::SYS_ioctl, [0, u64::from(request), 0, 0, 0, 0]);
        assert_eq!(ioctl(TIOCSTI), errno(libc::EPERM));
        assert_eq!(ioctl(TIOCLINUX), errno(libc::EPERM));
        assert_eq!(ioctl(0x5401), RET_ALLOW);
    }
}
