//! `hearth-guest up`: starts the platform's process as an unprivileged user, then serves it as its launcher.

use crate::cgroup::Cgroups;
use crate::error::{Context, Error};
use crate::host::{mount_work, real_path, Cover, Host, Options, WORK};
use crate::launcher::{Launcher, Parts};
use crate::publish::ReadyFiles;
use crate::request::check_path;
use crate::sys::{self, Pid};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a predecessor may take to let go of the state folder.
const LOCK_MS_MAX: u64 = 5_000;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub state: String,
    pub keep: Vec<String>,
    pub sources: Vec<String>,
    pub ready: Vec<String>,
    pub command: Vec<String>,
}

pub fn parse(words: &[String]) -> Result<Arguments, Error> {
    let mut arguments = Arguments::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            arguments.command = words.cloned().collect();
            break;
        }
        let value = words.next().ok_or_else(|| usage(format!("{word} needs a value.")))?;
        let path = || match check_path(value) {
            Ok(()) => Ok(value.clone()),
            Err(()) => Err(usage(format!("{word} needs an absolute path without \"..\", not \"{value}\"."))),
        };
        let number = || value.parse().map_err(|_| usage(format!("{word} needs a number, not \"{value}\".")));
        match word.as_str() {
            "--uid" => arguments.uid = Some(number()?),
            "--gid" => arguments.gid = Some(number()?),
            "--state" => arguments.state = path()?,
            "--keep" => arguments.keep.push(path()?),
            "--source" => arguments.sources.push(path()?),
            "--ready" => arguments.ready.push(path()?),
            _ => return Err(usage(format!("There is no option {word}."))),
        }
    }
    if arguments.state.is_empty() {
        return Err(usage("--state is missing.".to_string()));
    }
    if arguments.command.is_empty() {
        return Err(usage("The command after -- is missing.".to_string()));
    }
    Ok(arguments)
}

fn usage(reason: String) -> Error {
    Error::Usage { reason }
}

/// Runs the platform; returns the exit status to end with.
pub fn run(words: &[String]) -> Result<i32, Error> {
    let arguments = parse(words)?;
    let is_root = sys::geteuid() == 0;
    let uid = arguments.uid.filter(|_| is_root).unwrap_or_else(sys::geteuid);
    let gid = arguments.gid.filter(|_| is_root).unwrap_or_else(sys::getegid);
    let id = identity(&arguments.state);

    // 1. Mounts of our own. Descriptors that mounts are made by must come from this namespace, so it is first.
    if is_root {
        leave_host_mounts()?;
    }
    // 2. One launcher for each state folder; signals are read, not taken, so that no child is missed.
    let _lock = lock_state(&arguments.state)?;
    let signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .at("start", || "make a signal descriptor".to_string())?;
    let mut ready_files = ReadyFiles::default();
    arguments.ready.iter().try_for_each(|path| ready_files.add(path))?;
    // 3. What the platform's user must reach is made reachable.
    let work = if is_root { Some(mount_work(&arguments.state)?) } else { None };
    let covers = if is_root && uid != 0 { cover_unreachable(&wanted_paths(&arguments), uid, gid)? } else { Vec::new() };
    // 4. What a predecessor left.
    let cgroups = Cgroups::open(&id);
    remove_left_folders(&arguments.state, uid, gid);
    // 5. The platform, then everything that sandboxes are made from.
    let (control, platform_end) =
        sys::socketpair(libc::SOCK_STREAM).at("start", || "make a socket pair".to_string())?;
    let platform = start_platform(&arguments.command, &platform_end, (uid, gid))?;
    drop(platform_end);
    let mut sources = arguments.sources;
    if !sources.is_empty() {
        sources.extend(arguments.keep);
        sources.extend(own_program());
        sources.push("/etc".to_string());
    }
    let host = Host::prepare(Options { platform_uid: uid, is_root, covers, sources, state: arguments.state, work });
    let launched = host.and_then(|host| {
        let parts = Parts { host, cgroups, control, platform, signals, ready_files, id };
        Launcher::new(parts).at("start", || "start the launcher".to_string())
    });
    // 6. Serves until the platform ends.
    match launched {
        Ok(mut launcher) => launcher.serve().at("launcher", || "wait for events".to_string()),
        Err(error) => {
            let _ = sys::kill(platform, libc::SIGKILL);
            Err(error)
        }
    }
}

fn own_program() -> Option<String> {
    fs::read_link("/proc/self/exe").ok().map(|path| path.to_string_lossy().into_owned())
}

/// 12 hex digits that name this platform's cgroups and interfaces: FNV-1a of the state folder's path. Not a secret, only a name.
pub fn identity(state: &str) -> String {
    let hash = state
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{:012x}", hash >> 16)
}

fn lock_state(path: &str) -> Result<OwnedFd, Error> {
    let folder = sys::openat(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_DIRECTORY, 0)
        .at("start", || format!("open the data folder \"{path}\""))?;
    let deadline = Instant::now() + Duration::from_millis(LOCK_MS_MAX);
    loop {
        match sys::try_lock(folder.as_raw_fd()) {
            Ok(()) => return Ok(folder),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return Err(Error::Busy { path: path.to_string() }),
        }
    }
}

/// Folders of instances that died with their agent. Removed as the platform's own user: it could have put anything there.
fn remove_left_folders(state: &str, uid: u32, gid: u32) {
    let Ok(child) = sys::fork() else { return };
    if child != 0 {
        let _ = sys::wait(child);
        return;
    }
    if uid != sys::geteuid() && sys::become_user(uid, gid).is_err() {
        sys::exit(1);
    }
    for entry in fs::read_dir(format!("{state}/instances")).into_iter().flatten().flatten() {
        if entry.file_name() != WORK {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    sys::exit(0)
}

fn start_platform(command: &[String], control: &OwnedFd, (uid, gid): (u32, u32)) -> Result<Pid, Error> {
    let launcher = std::process::id() as Pid;
    let pid = sys::fork().at("start", || "fork the platform".to_string())?;
    if pid != 0 {
        return Ok(pid);
    }
    let error = become_platform(command, control, (uid, gid), launcher).err();
    let text = error.map_or(String::new(), |error| crate::error::errno_text(error.raw_os_error().unwrap_or(libc::EIO)));
    eprintln!("Cannot start \"{}\": {text}.", command[0]);
    sys::exit(127)
}

fn become_platform(
    command: &[String],
    control: &OwnedFd,
    (uid, gid): (u32, u32),
    launcher: Pid,
) -> std::io::Result<()> {
    // The copy above 3 first: descriptor 3 may be anything here.
    let control = sys::dup_above(control.as_raw_fd(), 10)?;
    sys::dup2(control, 3)?;
    sys::close_all_but(&mut vec![0, 1, 2, 3])?;
    sys::reset_signals();
    sys::set_signal_mask(&[])?;
    if sys::geteuid() == 0 && uid != 0 {
        sys::drop_bounding_set()?;
        sys::become_user(uid, gid)?;
        sys::drop_capabilities()?;
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    }
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong)?;
    // SAFETY: cannot fail.
    if unsafe { libc::getppid() } != launcher {
        sys::exit(127);
    }
    let words = command.iter().map(|word| sys::c(word)).collect::<std::io::Result<Vec<_>>>()?;
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: the words and the null-terminated list live over the call, which returns only on failure.
    sys::check_int(unsafe { libc::execvp(pointers[0], pointers.as_ptr()) }).map(drop)
}

// ---- mounts

/// A mount namespace of our own: what the host mounts comes in, what we mount stays in.
fn leave_host_mounts() -> Result<(), Error> {
    sys::unshare(libc::CLONE_NEWNS)
        .and_then(|()| sys::mount("", "/", "", libc::MS_SLAVE | libc::MS_REC, ""))
        .at("mount_ns", || "make a mount namespace".to_string())?;
    // SAFETY: an empty list is given by length 0. Root's groups must not hide what the platform's user cannot reach.
    unsafe { libc::setgroups(0, std::ptr::null()) };
    Ok(())
}

fn wanted_paths(arguments: &Arguments) -> Vec<String> {
    let program = arguments.command.first().filter(|program| program.starts_with('/'));
    arguments.keep.iter().chain([&arguments.state]).chain(program).cloned().collect()
}

struct Kept {
    path: String,
    original: OwnedFd,
}

/// Covers each topmost folder that keeps `uid` from a wanted path, and binds the wanted paths below it back in place.
fn cover_unreachable(wanted: &[String], uid: u32, gid: u32) -> Result<Vec<Cover>, Error> {
    let mut paths: Vec<String> = wanted.iter().flat_map(|path| [path.clone(), real_path(path)]).collect();
    paths.sort();
    paths.dedup();
    let mut kept = Vec::new();
    for path in paths {
        // A path that does not exist yet is made later by whoever needs it, in a folder that is reachable or is kept itself.
        if let Ok(original) = sys::openat(libc::AT_FDCWD, &path, libc::O_PATH, 0) {
            kept.push(Kept { path, original });
        }
    }
    let mut covers: Vec<Cover> = Vec::new();
    for index in 0..kept.len() {
        // Each round makes one more folder on the way searchable.
        while let Some(folder) = first_unsearchable(&kept[index].path, uid, gid) {
            if covers.iter().any(|cover| cover.path == folder) {
                break;
            }
            let original = cover(&folder, &kept).at("keep", || format!("make \"{}\" reachable", kept[index].path))?;
            covers.push(Cover { path: folder, original });
        }
    }
    Ok(covers)
}

/// The topmost folder above `path` that `uid` may not search.
fn first_unsearchable(path: &str, uid: u32, gid: u32) -> Option<String> {
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty());
    let is_denied = |folder: &&str| {
        let look = || sys::openat(libc::AT_FDCWD, &format!("{folder}/."), libc::O_PATH | libc::O_DIRECTORY, 0);
        sys::as_file_user(uid, gid, look).err().and_then(|error| error.raw_os_error()) == Some(libc::EACCES)
    };
    folders.into_iter().find(is_denied).map(str::to_string)
}

/// Mounts a searchable tmpfs over `folder` and binds what is kept below it back; returns the folder as it was.
fn cover(folder: &str, kept: &[Kept]) -> std::io::Result<OwnedFd> {
    let original = sys::openat(libc::AT_FDCWD, folder, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
    let tmpfs = sys::new_mount("tmpfs", &[("size", "1m"), ("mode", "755")], attributes)?;
    sys::move_mount(tmpfs.as_raw_fd(), libc::AT_FDCWD, folder)?;
    let mut placed: Vec<&str> = Vec::new();
    for Kept { path, original } in kept {
        let is_below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        if !is_below(folder) || placed.iter().any(|above| is_below(above)) {
            continue;
        }
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > folder.len()) {
            exists_or(fs::create_dir(&path[..at]))?;
        }
        if sys::is_dir(original.as_raw_fd())? {
            exists_or(fs::create_dir(path))?;
        } else {
            drop(fs::File::create(path)?);
        }
        let tree = sys::open_tree(original.as_raw_fd(), "", true)?;
        sys::move_mount(tree.as_raw_fd(), libc::AT_FDCWD, path)?;
        placed.push(path);
    }
    Ok(original)
}

fn exists_or(made: std::io::Result<()>) -> std::io::Result<()> {
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn parse_reads_every_option() {
        let got = parse(&words(
            "--uid 9 --gid 8 --state /s --keep /a --keep /b --source /c --ready /r/f -- node up.ts --uid 1",
        ));
        let wanted = Arguments {
            uid: Some(9),
            gid: Some(8),
            state: "/s".to_string(),
            keep: words("/a /b"),
            sources: words("/c"),
            ready: words("/r/f"),
            command: words("node up.ts --uid 1"),
        };
        assert_eq!(got, Ok(wanted));
    }

    #[test]
    fn parse_names_what_is_wrong() {
        let rows = [
            ("--state /s", "The command after -- is missing."),
            ("-- node", "--state is missing."),
            ("--state", "--state needs a value."),
            ("--state s -- node", "--state needs an absolute path without \"..\", not \"s\"."),
            ("--uid x --state /s -- node", "--uid needs a number, not \"x\"."),
            ("--lid 1 -- node", "There is no option --lid."),
        ];
        for (text, reason) in rows {
            assert_eq!(parse(&words(text)), Err(Error::Usage { reason: reason.to_string() }));
        }
    }

    #[test]
    fn identity_is_twelve_digits_and_differs() {
        assert_eq!(identity("/srv/.hearth").len(), 12);
        assert_ne!(identity("/srv/.hearth"), identity("/srv/.hearth2"));
    }
}
