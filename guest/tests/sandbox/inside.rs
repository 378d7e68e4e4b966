//! The runtime of these sandboxes: this program again, doing what its second word says.

use serde_json::{json, Value};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

fn errno_name(errno: i32) -> String {
    let names = [(0, "0"), (libc::EPERM, "EPERM"), (libc::ENOENT, "ENOENT"), (libc::EACCES, "EACCES")];
    let more = [(libc::EROFS, "EROFS"), (libc::ENOSYS, "ENOSYS"), (libc::ENOSPC, "ENOSPC"), (libc::EAGAIN, "EAGAIN")];
    let found = names.iter().chain(&more).find(|(number, _)| *number == errno);
    found.map_or_else(|| errno.to_string(), |(_, name)| (*name).to_string())
}

fn outcome<T>(result: std::io::Result<T>) -> String {
    errno_name(result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1)))
}

fn report(byte: u8) {
    // SAFETY: descriptor 3 is the runtime's channel; the buffer is one byte.
    assert_eq!(unsafe { libc::write(3, [byte].as_ptr().cast(), 1) }, 1);
}

fn await_word() {
    // SAFETY: as in `report`.
    assert_eq!(unsafe { libc::read(3, [0u8].as_mut_ptr().cast(), 1) }, 1);
}

pub fn inside(what: &str) {
    match what {
        "hello" => println!("hello"),
        "look" => look(),
        "deny" => deny(),
        "fork" => {
            let mut count = 0;
            // SAFETY: the child only waits for its end; this program has one thread.
            while unsafe { libc::fork() } > 0 {
                count += 1;
            }
            // A child gets here too, with fork's 0.
            if std::process::id() == 2 {
                println!("{count}");
            } else {
                std::thread::sleep(Duration::from_secs(60));
            }
        }
        "eat" => eat(),
        "eat in child" => {
            // SAFETY: this program has one thread.
            let child = unsafe { libc::fork() };
            if child == 0 {
                eat();
            }
            // SAFETY: null asks for no status.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            report(b'k');
            await_word();
        }
        "fill" => {
            fill();
            report(b'f');
            await_word();
            fill();
        }
        "read" => {
            assert_eq!(fs::read_dir("/var/task").unwrap().count(), 0);
            report(b'e');
            await_word();
            let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
            let write = |path: &str| outcome(fs::write(path, "x"));
            println!(
                "{} {} {} {} {}",
                text("/var/task/index.txt"),
                text("/var/cache/hearth/index.bin"),
                write("/var/task/x"),
                // SAFETY: the path is NUL-terminated.
                outcome(check(
                    unsafe { libc::chmod(b"/var/cache/hearth/index.bin\0".as_ptr().cast::<libc::c_char>(), 0o777) }
                        .into()
                )),
                write("/var/task/index.txt"),
            );
        }
        "read layers" => {
            await_word();
            let text = |name: &str| fs::read_to_string(format!("/opt/{name}")).unwrap();
            println!("{} {} {}", text("a"), text("b"), outcome(fs::write("/opt/x", "x")));
        }
        "tick" => loop {
            report(b't');
            std::thread::sleep(Duration::from_millis(5));
        },
        // Several processes, so that freezing them takes a moment.
        "tick thrice" => {
            // SAFETY: this program has one thread.
            while unsafe { libc::fork() } == 0 && std::process::id() < 4 {}
            loop {
                report(b't');
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        "grandchild" => {
            let script = "sleep 13579.246 & exec sleep 60";
            let mut child = Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            report(b'g');
            child.wait().unwrap();
        }
        "abort" => std::process::abort(),
        "leave a child" => {
            // That nobody waits for it is what is tested.
            #[allow(clippy::zombie_processes)]
            Command::new("/bin/sleep").arg("60").spawn().unwrap();
            println!("left");
        }
        "write on demand" => loop {
            await_word();
            print!("{}", "x".repeat(1000));
            std::io::stdout().flush().unwrap();
            report(b'w');
        },
        "flood" => {
            let block = vec![b'y'; 100_000];
            for _ in 0..500 {
                std::io::stdout().write_all(&block).unwrap();
            }
        }
        "call" => call(),
        "wait" => {
            report(b'r');
            std::thread::sleep(Duration::from_secs(60));
        }
        "wait stubbornly" => {
            // SAFETY: SIG_IGN is a valid handler.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            report(b'r');
            std::thread::sleep(Duration::from_secs(60));
        }
        other => std::process::exit(other.strip_prefix("exit ").unwrap().parse().unwrap()),
    }
}

fn look() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("?").trim().to_string()
    };
    let id = |name: &str| field(name).split_whitespace().next().unwrap().parse::<u32>().unwrap();
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    // Before anything else is opened.
    let fds: Vec<String> = (0..20).filter(|fd| is_open(*fd)).map(|fd| fd.to_string()).collect();
    let cgroups: std::collections::BTreeSet<String> = fs::read_to_string("/proc/self/cgroup")
        .unwrap()
        .lines()
        .map(|line| line.splitn(3, ':').nth(2).unwrap().to_string())
        .collect();
    let interfaces: Vec<String> = fs::read_to_string("/proc/net/dev")
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_string()))
        .collect();
    let try_all = |paths: &[&str], attempt: &dyn Fn(&str) -> String| -> Value {
        paths.iter().map(|path| (path.to_string(), json!(attempt(path)))).collect()
    };
    let writes = [
        "/x",
        "/usr/x",
        "/etc/x",
        "/var/x",
        "/var/task/x",
        "/dev/x",
        "/proc/sys/kernel/hostname",
        "/tmp/x",
        "/dev/shm/x",
    ];
    let reads =
        ["/etc/shadow", "/proc/1/environ", "/proc/keys", "/sys/kernel", "/root", "/home", "/dev/kmsg", "/dev/mem"];
    let mut core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: `core` lives over the call.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut core) };
    let found = json!({
        "uid": id("Uid"), "gid": id("Gid"), "groups": field("Groups"), "pid": std::process::id(),
        "hostname": fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(),
        "cwd": std::env::current_dir().unwrap(),
        "caps": [field("CapInh"), field("CapPrm"), field("CapEff"), field("CapBnd"), field("CapAmb")],
        "noNewPrivs": field("NoNewPrivs"), "seccomp": field("Seccomp"),
        "pids": names("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok()).collect::<Vec<_>>(),
        "fds": fds, "interfaces": interfaces, "nice": nice(), "mnt": names("/mnt"), "above": names("/../..") == names("/"),
        "roots": fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(|line| line.contains(" / / ")).count(), "core": core.rlim_max,
        "cgroups": cgroups.into_iter().collect::<Vec<_>>().join(" "),
        "writes": try_all(&writes, &|path| outcome(fs::write(path, "x"))),
        "lowPort": outcome(std::net::TcpListener::bind("127.0.0.1:80")),
        "reads": try_all(&reads, &|path| outcome(fs::metadata(path).and_then(|found| if found.is_dir() { Ok(vec![]) } else { fs::read(path) }))),
    });
    println!("{found}");
}

pub fn nice() -> i32 {
    // SAFETY: takes plain numbers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

fn is_open(fd: i32) -> bool {
    // SAFETY: takes plain numbers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

fn check(result: libc::c_long) -> std::io::Result<()> {
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn deny() {
    let null = 0usize;
    let none = b"none\0".as_ptr().cast::<libc::c_char>();
    let tmp = b"/tmp\0".as_ptr().cast::<libc::c_char>();
    let newuser = libc::CLONE_NEWUSER as libc::c_long;
    let time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: each call is denied before it looks at its arguments, which are valid all the same.
    let found = unsafe {
        json!({
            "mount": outcome(check(libc::syscall(libc::SYS_mount, none, tmp, none, 0, null))),
            "umount": outcome(check(libc::syscall(libc::SYS_umount2, tmp, 0))),
            "fsopen": outcome(check(libc::syscall(libc::SYS_fsopen, none, 0))),
            "open_tree": outcome(check(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, tmp, 1))),
            "pivot_root": outcome(check(libc::syscall(libc::SYS_pivot_root, tmp, tmp))),
            "chroot": outcome(check(libc::syscall(libc::SYS_chroot, tmp))),
            "unshare": outcome(check(libc::syscall(libc::SYS_unshare, newuser))),
            "setns": outcome(check(libc::syscall(libc::SYS_setns, 0, 0))),
            "clone newuser": outcome(check(libc::syscall(libc::SYS_clone, newuser | 17, 0, 0, 0, 0))),
            "clone3": outcome(check(libc::syscall(libc::SYS_clone3, null, 0))),
            "ptrace": outcome(check(libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1, 0, 0))),
            "bpf": outcome(check(libc::syscall(libc::SYS_bpf, 0, null, 0))),
            "keyctl": outcome(check(libc::syscall(libc::SYS_keyctl, 0, 0, 0, 0, 0))),
            "io_uring": outcome(check(libc::syscall(libc::SYS_io_uring_setup, 1, null))),
            "perf": outcome(check(libc::syscall(libc::SYS_perf_event_open, null, 0, -1, -1, 0))),
            "settime": outcome(check(libc::syscall(libc::SYS_clock_settime, 0, &time))),
            "setuid 0": outcome(check(libc::setuid(0).into())),
            "kill supervisor": outcome(check(libc::kill(1, 9).into())),
            "mknod": outcome(check(libc::mknod(b"/tmp/disk\0".as_ptr().cast::<libc::c_char>(), libc::S_IFBLK | 0o600, libc::makedev(254, 0)).into())),
            "socket raw": outcome(check(libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP).into())),
            "socket packet": outcome(check(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).into())),
            "socket vsock": outcome(check(libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).into())),
            "socket netfilter": outcome(check(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 12).into())),
            "socket unix": outcome(check(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into())),
            "socket inet": outcome(check(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into())),
            "thread": std::thread::spawn(|| "0").join().unwrap(),
        })
    };
    println!("{found}");
}

fn eat() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 1 << 20]);
    }
}

fn fill() {
    let mut file = fs::OpenOptions::new().create(true).append(true).open("/tmp/fill").unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[1u8; 4096]) {
            break error;
        }
    };
    println!("{} {}", file.metadata().unwrap().len(), errno_name(error.raw_os_error().unwrap()));
}

fn call() {
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut socket = TcpStream::connect("127.0.0.1:9010").unwrap();
    let mut writer = socket.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    socket.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    println!("{} {}", got.len(), if got == sent { "same" } else { "different" });
}
