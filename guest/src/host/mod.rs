//! What the launcher finds out and prepares once, before the first sandbox: namespaces to fork from, the folder that binds
//! appear in, what of the host a sandbox may see.

mod spawn_base;

use crate::error::{Context, Error};
use crate::landlock;
use crate::sandbox::{Tree, PROC_MASKED};
use crate::seccomp::Filter;
use crate::sys;
use spawn_base::{enter_user_namespace, SpawnBase};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A folder that `up` covered, with a descriptor of what lies below the cover.
pub struct Cover {
    pub path: String,
    pub original: OwnedFd,
}

pub struct Host {
    /// Uid that listens on channels and owns the control socket's other end.
    pub platform_uid: u32,
    pub platform_gid: u32,
    /// The state folder.
    pub state: String,
    pub is_root: bool,
    /// Mounts can be made: as root, or in a user namespace.
    pub has_namespaces: bool,
    pub why_not: String,
    pub covers: Vec<Cover>,
    /// Real paths that binds may come from; empty means any.
    pub sources: Vec<String>,
    /// A tmpfs of our own below the state folder: `<instance>/var` appears in the sandbox, with what is mounted there later.
    pub work: OwnedFd,
    pub root_links: Vec<(String, String)>,
    /// Folders beside /usr that this host keeps as folders, e.g. /lib on a machine without merged /usr.
    pub root_folders: Vec<String>,
    pub proc_masked: Vec<(&'static str, bool)>,
    pub can_mknod: bool,
    pub filter: Filter,
    pub landlock_abi: u32,
    /// What sandboxes go back to from the launcher's own.
    pub nice: i32,
    spawn_base: Option<SpawnBase>,
}

pub struct Options {
    pub platform_uid: u32,
    pub platform_gid: u32,
    pub is_root: bool,
    pub covers: Vec<Cover>,
    pub sources: Vec<String>,
    pub state: String,
    /// As root: what `mount_work` returned. Without root it is mounted in the user namespace.
    pub work: Option<OwnedFd>,
}

const LAUNCHER_NICE: i32 = -10;

/// Mount point of the launcher's tmpfs, in the platform's folder of instances.
pub const WORK: &str = ".work";

impl Host {
    /// Runs after the platform was forked, since without root it enters a user namespace.
    pub fn prepare(options: Options) -> Result<Host, Error> {
        let entered = if options.is_root { Ok(()) } else { enter_user_namespace() };
        let has_namespaces = entered.is_ok();
        let work = match options.work {
            Some(work) => work,
            None => mount_work(&options.state)?,
        };
        if has_namespaces {
            // Only now: copies that covers made of it follow nothing.
            sys::mount_setattr(work.as_raw_fd(), 0, libc::MS_SHARED, false)
                .at("instances", || "share the mount of the instances".to_string())?;
        }
        let spawn_base = if has_namespaces { Some(SpawnBase::make(options.is_root)?) } else { None };
        let sources = options.sources.iter().map(|path| real_path(path)).collect();
        let (root_links, root_folders) = root_entries();
        let is_there =
            |name: &&'static str| fs::metadata(format!("/proc/{name}")).ok().map(|found| (*name, found.is_dir()));
        Ok(Host {
            platform_uid: options.platform_uid,
            platform_gid: options.platform_gid,
            state: options.state,
            is_root: options.is_root,
            has_namespaces,
            why_not: entered.err().map(|error| error.to_string()).unwrap_or_default(),
            covers: options.covers,
            sources,
            can_mknod: can_mknod(work.as_raw_fd()),
            work,
            root_links,
            root_folders,
            proc_masked: PROC_MASKED.iter().filter_map(is_there).collect(),
            filter: Filter::new(),
            landlock_abi: landlock::abi(),
            nice: go_first(),
            spawn_base,
        })
    }

    /// Opens what is to be bound, past the covers. With `sources` given, its real path must lie below one of them.
    pub fn open_source(&self, field: &'static str, path: &str) -> Result<OwnedFd, Error> {
        let below = |cover: &'_ Cover| {
            path.strip_prefix(cover.path.as_str()).filter(|rest| rest.starts_with('/') || rest.is_empty())
        };
        let covered = self.covers.iter().find_map(|cover| Some((cover.original.as_raw_fd(), below(cover)?)));
        let opened = match covered {
            Some((fd, "")) => sys::openat(fd, ".", libc::O_PATH, 0),
            Some((fd, rest)) => sys::openat(fd, &rest[1..], libc::O_PATH, 0),
            None => sys::openat(libc::AT_FDCWD, path, libc::O_PATH, 0),
        };
        let opened = opened.at("binds", || format!("open \"{path}\""))?;
        if self.sources.is_empty() {
            return Ok(opened);
        }
        let real = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))
            .at("binds", || format!("resolve \"{path}\""))?;
        if self.sources.iter().any(|source| real.starts_with(source)) {
            return Ok(opened);
        }
        Err(Error::Path { field, path: path.to_string(), rule: "below a --source or --keep path" })
    }

    /// A detached, read-only copy of the tree at `path`, to be moved to `target` in a sandbox.
    pub fn tree(&self, field: &'static str, path: &str, target: &str) -> Result<Tree, Error> {
        let source = self.open_source(field, path)?;
        read_only_tree(source.as_raw_fd(), "", target).at("binds", || format!("bind \"{path}\""))
    }

    /// Does `work` in another mount namespace, seen from its root.
    pub fn within<T>(&self, namespace: &OwnedFd, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let base = self.spawn_base.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        sys::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS)?;
        let done = work();
        go_back(base);
        done
    }

    /// Forks a process into new namespaces; None in the child, which sees an empty mount namespace of its own.
    pub fn fork_sandbox(&self, cgroup: Option<RawFd>) -> Result<Option<(sys::Pid, OwnedFd)>, Error> {
        let Some(base) = &self.spawn_base else {
            return Err(Error::Missing {
                feature: "private_root",
                reason: self.why_not.clone(),
                fix: "Run as root, or allow user namespaces.",
            });
        };
        let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        sys::setns(base.empty.as_raw_fd(), libc::CLONE_NEWNS).at("fork", || "enter the empty namespace".to_string())?;
        let forked = sys::clone3(namespaces, cgroup);
        if matches!(forked, Ok(None)) {
            return Ok(None);
        }
        go_back(base);
        forked.at("fork", || "fork the sandbox".to_string())
    }
}

impl Host {
    /// Does `work` in the mount namespace of another process, whose root is then `/`.
    pub fn in_mounts_of(&self, namespace: &OwnedFd, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some(base) = &self.spawn_base else { return Err(io::Error::from_raw_os_error(libc::EPERM)) };
        sys::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS)?;
        let done = work();
        if let Err(error) = base.leave() {
            eprintln!("hearth-guest: cannot return to the own mount namespace: {error}");
            sys::exit(1);
        }
        done
    }
}

/// Mounts a tmpfs of the launcher's own over `instances/.work` of the state folder, which the platform may write to: no link is
/// followed, and what happens here later happens by descriptor.
pub fn mount_work(state: &str) -> Result<OwnedFd, Error> {
    let mount = || -> io::Result<OwnedFd> {
        let state = sys::openat(libc::AT_FDCWD, state, libc::O_PATH | libc::O_DIRECTORY, 0)?;
        let instances = open_made(state.as_raw_fd(), "instances", 0o755)?;
        let work = open_made(instances.as_raw_fd(), WORK, 0o700)?;
        let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
        let tmpfs = sys::new_mount("tmpfs", &[("size", "64m"), ("mode", "700")], attributes)?;
        sys::move_mount(tmpfs.as_raw_fd(), work.as_raw_fd(), "")?;
        Ok(tmpfs)
    };
    mount().at("instances", || format!("mount a tmpfs on \"{state}/instances/{WORK}\""))
}

/// Opens a folder, and makes it first, owned as the folder above, when it is not there.
fn open_made(parent: RawFd, name: &str, mode: u32) -> io::Result<OwnedFd> {
    let is_new = sys::mkdirat(parent, name, mode).is_ok();
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let opened = sys::openat2(parent, name, flags, 0, sys::RESOLVE_BENEATH | sys::RESOLVE_NO_SYMLINKS)?;
    if is_new && sys::geteuid() == 0 {
        let owner = sys::fstat(parent)?;
        sys::fchown_path(opened.as_raw_fd(), owner.st_uid, owner.st_gid)?;
    }
    Ok(opened)
}

/// A detached, read-only copy of what a descriptor shows.
pub fn read_only_tree(dir: RawFd, path: &str, target: &str) -> io::Result<Tree> {
    let mount = sys::open_tree(dir, path, true)?;
    sys::mount_setattr(mount.as_raw_fd(), sys::READ_ONLY, 0, true)?;
    let is_dir = sys::is_dir(mount.as_raw_fd())?;
    Ok(Tree { target: target.trim_start_matches('/').to_string(), mount, is_dir })
}

/// Without its own mounts the launcher can neither serve nor clean up; the kernel does the latter when it ends.
fn go_back(base: &SpawnBase) {
    if let Err(error) = base.leave() {
        eprintln!("hearth-guest: cannot return to the own mount namespace: {error}");
        sys::exit(1);
    }
}

/// How this host keeps /bin, /lib and the like: as links into /usr or as folders.
fn root_entries() -> (Vec<(String, String)>, Vec<String>) {
    let (mut links, mut folders) = (Vec::new(), Vec::new());
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let path = format!("/{name}");
        match fs::read_link(&path) {
            Ok(target) => links.push((target.to_string_lossy().into_owned(), name.to_string())),
            Err(_) if fs::metadata(&path).map(|found| found.is_dir()).unwrap_or(false) => folders.push(path),
            Err(_) => {}
        }
    }
    (links, folders)
}

/// The launcher does little, and a start waits for it at each hand-over: on a busy machine it goes first. Returns the value before;
/// without root it stays at that.
fn go_first() -> i32 {
    let before = sys::priority();
    let _ = sys::set_priority(before.min(LAUNCHER_NICE));
    before
}

fn can_mknod(dir: RawFd) -> bool {
    let made = sys::mknod_char(dir, ".mknod", 1, 3).is_ok();
    let _ = sys::unlinkat(dir, ".mknod", 0);
    made
}

pub fn real_path(path: &str) -> String {
    fs::canonicalize(path).map(|real| real.to_string_lossy().into_owned()).unwrap_or_else(|_| path.to_string())
}

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Device nodes as binds, where mknod is not allowed.
pub fn device_trees() -> Result<Vec<Tree>, Error> {
    let tree = |name: &&str| {
        let path = format!("/dev/{name}");
        let mount = sys::open_tree(libc::AT_FDCWD, &path, false).at("dev", || format!("bind \"{path}\""))?;
        Ok(Tree { target: path[1..].to_string(), mount, is_dir: false })
    };
    DEVICES.iter().map(tree).collect()
}
