//! A second fence around the files, should a mount ever be wrong: writing below /tmp and /dev only, signals and abstract
//! sockets within the sandbox. Source: Linux Documentation/userspace-api/landlock.rst.

use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
const SCOPES: u64 = 0b11;

#[repr(C)]
struct Ruleset {
    handled_fs: u64,
    handled_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: RawFd,
}

/// Version of the kernel's interface; 0 when Landlock is not there or not enabled.
pub fn abi() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: a null ruleset of size 0 with this flag asks for the version.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Ruleset>(),
            0,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// File rights that version `abi` knows.
fn all_rights(abi: u32) -> u64 {
    match abi {
        0 => 0,
        1 => REFER - 1,
        2 => TRUNCATE - 1,
        3 | 4 => IOCTL_DEV - 1,
        _ => (IOCTL_DEV << 1) - 1,
    }
}

/// Restricts this process for good, with the root as it is now. Needs no_new_privs.
pub fn restrict(abi: u32) -> io::Result<()> {
    if abi == 0 {
        return Ok(());
    }
    let all = all_rights(abi);
    let ruleset = Ruleset { handled_fs: all, handled_net: 0, scoped: if abi >= 6 { SCOPES } else { 0 } };
    let size = match abi {
        1..=3 => 8,
        4 | 5 => 16,
        _ => 24,
    };
    // SAFETY: `ruleset` is at least `size` long and lives over the call.
    let fd = sys::check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &ruleset, size, 0) })?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let reading = EXECUTE | READ_FILE | READ_DIR;
    let devices = reading | WRITE_FILE | TRUNCATE | IOCTL_DEV;
    for (path, rights) in
        [("/", reading), ("/tmp", all), ("/dev", devices), ("/dev/shm", all), ("/proc", reading | WRITE_FILE)]
    {
        allow(fd.as_raw_fd(), path, rights & all)?;
    }
    // SAFETY: takes plain numbers.
    sys::check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd.as_raw_fd(), 0) }).map(drop)
}

fn allow(ruleset: RawFd, path: &str, rights: u64) -> io::Result<()> {
    const LANDLOCK_RULE_PATH_BENEATH: u32 = 1;
    let parent = sys::openat(libc::AT_FDCWD, path, libc::O_PATH, 0)?;
    let rule = PathBeneath { allowed: rights, parent: parent.as_raw_fd() };
    // SAFETY: `rule` lives over the call.
    sys::check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rights_grow_with_the_version() {
        assert_eq!(all_rights(0), 0);
        assert_eq!(all_rights(1), 0x1fff);
        assert_eq!(all_rights(2), 0x3fff);
        assert_eq!(all_rights(3), 0x7fff);
        assert_eq!(all_rights(5), 0xffff);
        assert_eq!(all_rights(9), 0xffff);
    }
}
