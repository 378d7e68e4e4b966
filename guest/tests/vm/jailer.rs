//! A stand-in for Firecracker's jailer, written from its documentation: it takes exactly the documented options, and does to its
//! process what the real one does, in the same order. And a stand-in for Firecracker, which it then becomes.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{chown, PermissionsExt};
use std::path::{Path, PathBuf};

#[derive(Default)]
struct Options {
    id: String,
    exec_file: String,
    uid: Option<u32>,
    gid: Option<u32>,
    base: String,
    netns: Option<String>,
    version: u8,
    parent: String,
    cgroups: Vec<(String, String)>,
    limits: Vec<(String, u64)>,
    rest: Vec<String>,
}

fn refuse(text: &str) -> ! {
    eprintln!("Jailer error: {text}");
    std::process::exit(1)
}

fn parse(words: &[String]) -> Options {
    let mut options = Options { base: "/srv/jailer".to_string(), version: 1, ..Options::default() };
    let mut words = words.iter();
    let pair = |value: &str| match value.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => (name.to_string(), value.to_string()),
        _ => refuse(&format!("Invalid format: {value}")),
    };
    while let Some(word) = words.next() {
        if word == "--" {
            options.rest = words.cloned().collect();
            break;
        }
        let value = words.next().unwrap_or_else(|| refuse(&format!("'{word}' needs a value"))).clone();
        let number = || value.parse().unwrap_or_else(|_| refuse(&format!("'{word}' needs a number")));
        match word.as_str() {
            "--id" if options.id.is_empty() => options.id = value,
            "--exec-file" => options.exec_file = value,
            "--uid" => options.uid = Some(number()),
            "--gid" => options.gid = Some(number()),
            "--chroot-base-dir" => options.base = value,
            "--netns" => options.netns = Some(value),
            "--cgroup-version" => options.version = number() as u8,
            "--parent-cgroup" => options.parent = value,
            "--cgroup" => options.cgroups.push(pair(&value)),
            "--resource-limit" => {
                let (name, value) = pair(&value);
                options.limits.push((name, value.parse().unwrap_or_else(|_| refuse("a limit is no number"))));
            }
            _ => refuse(&format!("Found argument '{word}' which wasn't expected, or isn't valid in this context.")),
        }
    }
    let is_id = |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_id(&options.id) {
        refuse(&format!("Invalid instance ID: {}", options.id));
    }
    if ![1, 2].contains(&options.version) || options.parent.contains("..") || options.parent.starts_with('/') {
        refuse("Invalid cgroup");
    }
    options
}

fn check(result: i32, what: &str) {
    if result < 0 {
        refuse(&format!("{what}: {}", io::Error::last_os_error()));
    }
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

pub fn run(words: &[String]) -> ! {
    // SAFETY: as the real one: nothing inherited but stdio.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    let options = parse(words);
    let exec = fs::canonicalize(&options.exec_file).unwrap_or_else(|error| refuse(&format!("exec-file: {error}")));
    let name = exec.file_name().unwrap().to_str().unwrap().to_string();
    if !name.contains("firecracker") {
        refuse(&format!("The exec file name must contain 'firecracker': {name}"));
    }
    let (Some(uid), Some(gid)) = (options.uid, options.gid) else { refuse("uid and gid are needed") };
    let base = fs::canonicalize(&options.base).unwrap_or_else(|error| refuse(&format!("chroot-base-dir: {error}")));
    let root = base.join(&name).join(&options.id).join("root");
    fs::create_dir_all(&root).unwrap();
    fs::copy(&exec, root.join(&name)).unwrap();
    if let Some(netns) = &options.netns {
        use std::os::fd::AsRawFd;
        let file = fs::File::open(netns).unwrap_or_else(|error| refuse(&format!("netns: {error}")));
        // SAFETY: takes plain numbers.
        check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, "setns");
    }
    for (limit, value) in &options.limits {
        let resource = match limit.as_str() {
            "fsize" => libc::RLIMIT_FSIZE,
            "no-file" => libc::RLIMIT_NOFILE,
            other => refuse(&format!("Invalid resource: {other}")),
        };
        let value = libc::rlimit { rlim_cur: *value, rlim_max: *value };
        // SAFETY: `value` lives over the call.
        check(unsafe { libc::setrlimit(resource, &value) }, "setrlimit");
    }
    for (file, value) in &options.cgroups {
        let group = mount_of(options.version, file).join(&options.parent).join(&options.id);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join(file), value).unwrap_or_else(|error| refuse(&format!("{file}={value}: {error}")));
        let members = if options.version == 1 { "tasks" } else { "cgroup.procs" };
        fs::write(group.join(members), std::process::id().to_string()).unwrap();
    }
    enter(&root);
    make_devices(uid, gid);
    // SAFETY: takes plain numbers, and a list of none.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()), "setgroups");
        check(libc::setgid(gid), "setgid");
        check(libc::setuid(uid), "setuid");
    }
    become_firecracker(&name, &options)
}

fn mount_of(version: u8, file: &str) -> PathBuf {
    let controller = file.split('.').next().unwrap_or_default();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let found = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| match version {
        1 => words[2] == "cgroup" && words[3].split(',').any(|word| word == controller),
        _ => words[2] == "cgroup2",
    });
    PathBuf::from(found.unwrap_or_else(|| refuse(&format!("no hierarchy for {file}")))[1])
}

fn enter(root: &Path) {
    let path = c(root.to_str().unwrap());
    let (slash, dot, old) = (c("/"), c("."), c("old_root"));
    let null = std::ptr::null();
    // SAFETY: all strings are NUL-terminated and live over the calls.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS), "unshare");
        check(libc::mount(null, slash.as_ptr(), null, libc::MS_SLAVE | libc::MS_REC, null.cast()), "slave");
        check(libc::mount(path.as_ptr(), path.as_ptr(), null, libc::MS_BIND | libc::MS_REC, null.cast()), "bind");
        check(libc::chdir(path.as_ptr()), "chdir");
        check(libc::mkdir(old.as_ptr(), 0o700), "mkdir");
        check(libc::syscall(libc::SYS_pivot_root, dot.as_ptr(), old.as_ptr()) as i32, "pivot_root");
        check(libc::chdir(slash.as_ptr()), "chdir");
        check(libc::umount2(old.as_ptr(), libc::MNT_DETACH), "umount");
        check(libc::rmdir(old.as_ptr()), "rmdir");
    }
}

fn make_devices(uid: u32, gid: u32) {
    for folder in ["/", "/dev", "/dev/net", "/run"] {
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        chown(folder, Some(uid), Some(gid)).unwrap();
    }
    for (path, major, minor) in [("/dev/net/tun", 10, 200), ("/dev/kvm", 10, 232), ("/dev/urandom", 1, 9)] {
        let node = c(path);
        // SAFETY: the path is NUL-terminated and lives over the call.
        let made = unsafe { libc::mknod(node.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(major, minor)) };
        check(made, path);
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

fn become_firecracker(name: &str, options: &Options) -> ! {
    let own = [format!("--id={}", options.id), "--start-time-us=1".into(), "--start-time-cpu-us=1".into()];
    let words = [format!("/{name}")].into_iter().chain(own).chain(["--parent-cpu-time-us=1".to_string()]);
    let words: Vec<CString> = words.chain(options.rest.iter().cloned()).map(|word| c(&word)).collect();
    let argv: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
    let env = [std::ptr::null()];
    // SAFETY: the strings and both null-terminated lists live over the call, which returns only on failure.
    check(unsafe { libc::execve(argv[0], argv.as_ptr(), env.as_ptr()) }, "execve");
    unreachable!()
}

/// What the jailer becomes: it serves its "API", the dummy's lines, on the socket that it is told.
pub fn firecracker(words: &[String]) -> ! {
    let names: Vec<&str> = words.iter().map(|word| word.split('=').next().unwrap_or_default()).collect();
    let wanted = ["--id", "--start-time-us", "--start-time-cpu-us", "--parent-cpu-time-us", "--api-sock"];
    if names[..5] != wanted || words.len() != 6 {
        refuse(&format!("unexpected arguments {words:?}"));
    }
    eprintln!("firecracker is up");
    let listener = std::os::unix::net::UnixListener::bind(&words[5]).unwrap();
    crate::dummy::serve_all(&listener);
    std::process::exit(0)
}
