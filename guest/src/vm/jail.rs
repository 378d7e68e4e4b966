//! Firecracker by its jailer: the one VMM that is started as root, by a program that takes every right away itself.
//! Source: Firecracker docs/jailer.md. The jailer makes `<base>/<program's name>/<id>/root`, where what was put before it stays,
//! enters the network and cgroup it is told, and becomes the program with that folder as its root.

use super::inputs;
use super::place::FOLDER;
use crate::cgroup::Cgroups;
use crate::error::{Context, Error};
use crate::host::Host;
use crate::request::{Access, VmJail};
use crate::sandbox::Tree;
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Jails lie below DIR, on disk: the jailer copies its program into each.
const JAILS: &str = "jails";
/// Where the jailer sees them: the platform owns DIR, and could put a link in the way.
const BASE: &str = "/mnt";
const OPEN_FILES: u64 = 4_096;
const MIB: u64 = 1_048_576;

/// A jail in the making, and later its folder.
pub struct Jail {
    /// Below DIR/jails: `<program's name>/<instance>`.
    pub name: String,
    /// Its root, as the machine sees it.
    pub root_path: String,
    /// DIR/jails, as a detached mount: only here can one be made of it, not in the child's own copy of our mounts.
    pub jails: OwnedFd,
    state: OwnedFd,
    is_kept: bool,
}

impl Jail {
    pub fn make(host: &Host, request: &VmJail) -> Result<Jail, Error> {
        let program = request.base.program.rsplit('/').next().unwrap_or_default();
        let name = format!("{program}/{}", request.base.instance);
        let make = || -> io::Result<Jail> {
            let state = sys::openat(libc::AT_FDCWD, &host.state, libc::O_PATH | libc::O_DIRECTORY, 0)?;
            let jails = own_folder(&state, JAILS)?;
            let of_program = own_folder(&jails, program)?;
            sys::mkdirat(of_program.as_raw_fd(), &request.base.instance, 0o711)?;
            let root = own_folder(&own_folder(&of_program, &request.base.instance)?, "root");
            let root_path = root_path(&host.state, &name);
            if root.is_err() {
                remove(&host.state, &name);
            }
            root?;
            let mut jail = Jail { name: name.clone(), root_path, jails, state, is_kept: false };
            jail.jails = sys::open_tree(jail.jails.as_raw_fd(), "", false)?;
            Ok(jail)
        };
        make().at("jail", || format!("make the jail \"{}/{JAILS}/{name}\"", host.state))
    }

    /// What the jail's root will show of the machine, as detached mounts.
    pub fn trees(&self, host: &Host, request: &VmJail) -> Result<Vec<Tree>, Error> {
        let tree = |file: &crate::request::JailFile| {
            let opened = inputs::open(host, &file.file, request.base.uid)?;
            let bind = || -> io::Result<Tree> {
                let mut attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
                if matches!(file.file.access, Access::Write | Access::Pipe) {
                    sys::fchown(opened.as_raw_fd(), host.platform_uid, request.base.uid)?;
                    sys::fchmod(opened.as_raw_fd(), 0o660)?;
                } else {
                    attributes |= sys::MOUNT_ATTR_RDONLY;
                }
                let mount = sys::open_tree(opened.as_raw_fd(), "", false)?;
                sys::mount_setattr(mount.as_raw_fd(), attributes, 0, false)?;
                let target = [BASE, &self.name, "root", &file.name].join("/");
                Ok(Tree { target, mount, is_dir: false })
            };
            bind().at("jail", || format!("show \"{}\" as \"{}\"", file.file.path, file.name))
        };
        let mut trees = request.files.iter().map(tree).collect::<Result<Vec<Tree>, Error>>()?;
        // Where `vm_place` shows files later: root's own, as in the root of any other VMM.
        let placed = sys::new_mount("tmpfs", &[("size", "64k"), ("mode", "755")], sys::MOUNT_ATTR_NOSUID);
        let mount = placed.at("jail", || format!("make \"{FOLDER}\" in the jail"))?;
        trees.push(Tree { target: [BASE, &self.name, "root", FOLDER].join("/"), mount, is_dir: true });
        Ok(trees)
    }

    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        if !self.is_kept {
            remove_below(&self.state, &self.name);
        }
    }
}

/// The jailer's command line, all of it.
pub fn arguments(cgroups: &Cgroups, request: &VmJail) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut option = |name: &str, value: String| words.extend([name.to_string(), value]);
    option("--id", request.base.instance.clone());
    option("--exec-file", request.base.program.clone());
    option("--uid", request.base.uid.to_string());
    option("--gid", request.base.uid.to_string());
    option("--chroot-base-dir", BASE.to_string());
    // The child has entered it: the jailer stays where it is.
    option("--netns", "/proc/self/ns/net".to_string());
    if let Some((version, parent)) = cgroups.parent() {
        option("--cgroup-version", version.to_string());
        option("--parent-cgroup", parent);
        for limit in cgroups.limits(request.base.memory_mib, request.base.cpu_share, request.base.pids_max) {
            option("--cgroup", limit);
        }
    }
    // A snapshot's RAM file fits, and no more.
    option("--resource-limit", format!("fsize={}", (request.base.memory_mib + 64) * MIB));
    option("--resource-limit", format!("no-file={OPEN_FILES}"));
    words.extend(["--", "--api-sock"].map(str::to_string));
    words.push(format!("/{}", request.api_socket));
    words
}

/// In the child, in a mount namespace of its own: the jails at their place, and the files in this one's root.
pub fn enter(jails: &OwnedFd, trees: &[Tree]) -> io::Result<()> {
    sys::mount("", "/", "", libc::MS_SLAVE | libc::MS_REC, "")?;
    sys::move_mount(jails.as_raw_fd(), libc::AT_FDCWD, BASE)?;
    for tree in trees {
        if tree.is_dir {
            sys::mkdirat(libc::AT_FDCWD, &tree.target, 0o755)?;
        } else {
            sys::openat(libc::AT_FDCWD, &tree.target, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o600)?;
        }
        sys::move_mount(tree.mount.as_raw_fd(), libc::AT_FDCWD, &tree.target)?;
    }
    Ok(())
}

/// Gives a socket that the VMM made in its jail to the platform. False while it is not there.
pub fn share(host: &Host, root: &OwnedFd, name: &str, uid: u32) -> Result<bool, Error> {
    let at = || format!("share \"{name}\"");
    let socket = match sys::openat(root.as_raw_fd(), name, libc::O_PATH | libc::O_NOFOLLOW, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.at("share", at)?,
    };
    let stat = sys::fstat(socket.as_raw_fd()).at("share", at)?;
    let is_own = stat.st_uid == uid || stat.st_uid == host.platform_uid;
    if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK || !is_own {
        return Err(Error::Path { field: "name", path: name.to_string(), rule: "a socket of the VM's" });
    }
    let share = || -> io::Result<()> {
        sys::fchown_path(socket.as_raw_fd(), host.platform_uid, host.platform_gid)?;
        sys::chmod(&format!("/proc/self/fd/{}", socket.as_raw_fd()), 0o600)?;
        // The jailer has closed the root to all but the VM; the platform is let through, to names that it knows.
        sys::chmod(&format!("/proc/self/fd/{}", root.as_raw_fd()), 0o711)
    };
    share().at("share", at).map(|()| true)
}

/// Of the jail `<program's name>/<instance>`, as the platform sees it.
pub fn root_path(state: &str, name: &str) -> String {
    format!("{state}/{JAILS}/{name}/root")
}

/// The root of a jail that a former launcher made.
pub fn find_root(state: &str, name: &str) -> Option<OwnedFd> {
    let state = sys::openat(libc::AT_FDCWD, state, libc::O_PATH | libc::O_DIRECTORY, 0).ok()?;
    open_below(&state, &format!("{JAILS}/{name}/root")).ok()
}

/// Removes a jail with all that the VM left in it, and the folders above it when they are empty.
pub fn remove(state: &str, name: &str) {
    if let Ok(state) = sys::openat(libc::AT_FDCWD, state, libc::O_PATH | libc::O_DIRECTORY, 0) {
        remove_below(&state, name);
    }
}

/// Removes the jails that no VM has which is written down: a launcher that is killed between the two leaves one.
pub fn sweep(state: &str, is_kept: impl Fn(&str) -> bool) {
    let Ok(state) = sys::openat(libc::AT_FDCWD, state, libc::O_PATH | libc::O_DIRECTORY, 0) else { return };
    for program in names_below(&state, JAILS) {
        for instance in names_below(&state, &format!("{JAILS}/{program}")) {
            let name = format!("{program}/{instance}");
            if !is_kept(&name) {
                remove_below(&state, &name);
            }
        }
    }
}

fn names_below(state: &OwnedFd, path: &str) -> Vec<String> {
    let Ok(folder) = open_below(state, path) else { return Vec::new() };
    let entries = fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd())).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn remove_below(state: &OwnedFd, name: &str) {
    let Some((program, instance)) = name.split_once('/') else { return };
    let Ok(above) = open_below(state, &format!("{JAILS}/{program}")) else { return };
    if sys::fstat(above.as_raw_fd()).map_or(true, |stat| stat.st_uid != sys::geteuid()) {
        return;
    }
    let _ = fs::remove_dir_all(format!("/proc/self/fd/{}/{instance}", above.as_raw_fd()));
    let _ = sys::unlinkat(state.as_raw_fd(), &format!("{JAILS}/{program}"), libc::AT_REMOVEDIR);
    let _ = sys::unlinkat(state.as_raw_fd(), JAILS, libc::AT_REMOVEDIR);
}

fn open_below(folder: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    sys::openat2(folder.as_raw_fd(), path, flags, 0, sys::RESOLVE_BENEATH | sys::RESOLVE_NO_SYMLINKS)
}

/// A folder that is root's, made when it is not there.
fn own_folder(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match sys::mkdirat(parent.as_raw_fd(), name, 0o711) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let folder = open_below(parent, name)?;
    match sys::fstat(folder.as_raw_fd())?.st_uid == sys::geteuid() {
        true => Ok(folder),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweep_removes_jails_that_nobody_has_and_empty_folders_above_them() {
        let state = std::env::temp_dir().join(format!("hearth-jails-{}", std::process::id()));
        let jail = |name: &str| state.join(JAILS).join(name).join("root");
        for name in ["firecracker/i-1", "firecracker/i-2", "other/i-3"] {
            fs::create_dir_all(jail(name)).unwrap();
            fs::write(jail(name).join("state"), "bytes").unwrap();
        }
        // Nothing is followed out of a jail.
        std::os::unix::fs::symlink(jail("firecracker/i-1"), jail("other/i-3").join("link")).unwrap();
        sweep(state.to_str().unwrap(), |name| name == "firecracker/i-1");
        assert!(jail("firecracker/i-1").join("state").exists());
        assert!(!jail("firecracker/i-2").exists() && !state.join("jails/other").exists());
        sweep(state.to_str().unwrap(), |_| false);
        assert!(!state.join(JAILS).exists());
        fs::remove_dir(&state).unwrap();
    }
}
