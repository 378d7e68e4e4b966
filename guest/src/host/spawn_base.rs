//! The empty mount namespace that sandboxes are forked from, and the user namespace that stands in for root.

use crate::error::{Context, Error};
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The way into an empty mount namespace and back.
pub struct SpawnBase {
    pub empty: OwnedFd,
    own: OwnedFd,
    root: OwnedFd,
}

impl SpawnBase {
    /// A child makes the namespace; a descriptor keeps it when the child is gone.
    pub fn make(is_root: bool) -> Result<SpawnBase, Error> {
        let make = || -> io::Result<SpawnBase> {
            let own = sys::openat(libc::AT_FDCWD, "/proc/self/ns/mnt", libc::O_RDONLY, 0)?;
            let root = sys::openat(libc::AT_FDCWD, "/", libc::O_PATH | libc::O_DIRECTORY, 0)?;
            let (to_child, from_parent) = sys::socketpair(libc::SOCK_STREAM)?;
            let pid = sys::fork()?;
            if pid == 0 {
                // Else the read below would wait for ourselves.
                drop(to_child);
                let made = enter_empty_namespace(is_root);
                let code = made.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
                let _ = sys::write(from_parent.as_raw_fd(), &[code as u8]);
                let _ = sys::read(from_parent.as_raw_fd(), &mut [0]);
                sys::exit(0);
            }
            drop(from_parent);
            let mut code = [0u8];
            if sys::read(to_child.as_raw_fd(), &mut code)? != 1 || code[0] != 0 {
                let _ = sys::wait(pid);
                return Err(io::Error::from_raw_os_error(i32::from(code[0])));
            }
            let empty = sys::openat(libc::AT_FDCWD, &format!("/proc/{pid}/ns/mnt"), libc::O_RDONLY, 0);
            drop(to_child);
            let _ = sys::wait(pid);
            Ok(SpawnBase { empty: empty?, own, root })
        };
        make().at("mount_ns", || "make an empty mount namespace".to_string())
    }

    pub fn leave(&self) -> io::Result<()> {
        sys::setns(self.own.as_raw_fd(), libc::CLONE_NEWNS)?;
        // The namespace's own root may not be ours, when the launcher itself runs in a chroot.
        sys::fchdir(self.root.as_raw_fd())?;
        sys::chroot_to_cwd()
    }
}

/// In a user namespace the kernel mounts a new /proc only where one is in sight already, so there it is not quite empty; the
/// sandbox then unmounts what it started from.
fn enter_empty_namespace(is_root: bool) -> io::Result<()> {
    sys::unshare(libc::CLONE_NEWNS)?;
    sys::mount("", "/", "", libc::MS_PRIVATE | libc::MS_REC, "")?;
    let root = sys::new_mount("tmpfs", &[("size", "4k"), ("mode", "755")], sys::MOUNT_ATTR_NOSUID)?;
    let proc = if is_root { None } else { Some(sys::open_tree(libc::AT_FDCWD, "/proc", true)?) };
    sys::move_mount(root.as_raw_fd(), libc::AT_FDCWD, "/")?;
    sys::fchdir(root.as_raw_fd())?;
    if let Some(proc) = proc {
        sys::mkdirat(libc::AT_FDCWD, "proc", 0o755)?;
        sys::move_mount(proc.as_raw_fd(), libc::AT_FDCWD, "proc")?;
    }
    sys::mount_setattr(root.as_raw_fd(), sys::READ_ONLY | sys::MOUNT_ATTR_NOEXEC, 0, false)?;
    // The root of a machine that runs from its initramfs cannot be left by pivot_root, only covered.
    let left = sys::pivot_root(".", ".").and_then(|()| sys::unmount(".")).and_then(|()| sys::chdir("/"));
    left.or_else(|_| sys::chroot_to_cwd())
}

/// Root in a user namespace that holds our own uid alone.
pub fn enter_user_namespace() -> Result<(), Error> {
    let (uid, gid) = (sys::geteuid(), sys::getegid());
    let enter = || -> io::Result<()> {
        sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        sys::mount("", "/", "", libc::MS_SLAVE | libc::MS_REC, "")
    };
    enter().at("user_ns", || "enter a user namespace".to_string())
}
