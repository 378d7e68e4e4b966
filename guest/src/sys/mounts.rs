//! Mounts, by the calls that work on detached mounts where these exist.

use super::{c, check, check_int, empty, own};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
pub const READ_ONLY: u64 = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

const OPEN_TREE_CLONE: u32 = 1;
const AT_RECURSIVE: u32 = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;

/// A detached copy of the tree at `path`; closing it unmounts it, unless it was moved somewhere.
pub fn open_tree(dir: RawFd, path: &str, recursive: bool) -> io::Result<OwnedFd> {
    let path = c(path)?;
    let flags = OPEN_TREE_CLONE
        | libc::O_CLOEXEC as u32
        | libc::AT_EMPTY_PATH as u32
        | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `path` is NUL-terminated and lives over the call.
    own(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets flags and, when `propagation` is not 0, the kind of propagation of a mount.
pub fn mount_setattr(mount: RawFd, set: u64, propagation: u64, recursive: bool) -> io::Result<()> {
    change(mount, MountAttr { set, propagation, ..MountAttr::default() }, recursive)
}

/// Makes one mount writable, not those below it.
pub fn make_writable(mount: RawFd) -> io::Result<()> {
    change(mount, MountAttr { clear: MOUNT_ATTR_RDONLY, ..MountAttr::default() }, false)
}

fn change(mount: RawFd, attr: MountAttr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH as u32 | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` lives over the call and the size is its size.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount, empty().as_ptr(), flags, &attr, std::mem::size_of::<MountAttr>())
    })
    .map(drop)
}

/// Attaches a detached mount at `path` below `dir`; an empty path means `dir` itself.
pub fn move_mount(mount: RawFd, dir: RawFd, path: &str) -> io::Result<()> {
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    let path = c(path)?;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | if path.as_bytes().is_empty() { MOVE_MOUNT_T_EMPTY_PATH } else { 0 };
    // SAFETY: both strings are NUL-terminated and live over the call.
    check(unsafe { libc::syscall(libc::SYS_move_mount, mount, empty().as_ptr(), dir, path.as_ptr(), flags) }).map(drop)
}

/// A new, detached filesystem, e.g. `("tmpfs", [("size", "1m")])`; an option without a value is a flag.
pub fn new_mount(kind: &str, options: &[(&str, &str)], attributes: u64) -> io::Result<OwnedFd> {
    let kind = c(kind)?;
    // SAFETY: `kind` is NUL-terminated and lives over the call.
    let context = own(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    configure(context.as_raw_fd(), options, FSCONFIG_CMD_CREATE)?;
    // SAFETY: takes plain numbers.
    own(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// Changes options of the filesystem that `mount` shows, wherever it is mounted.
pub fn reconfigure(mount: RawFd, options: &[(&str, &str)]) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated constant.
    let context =
        own(unsafe { libc::syscall(libc::SYS_fspick, mount, empty().as_ptr(), FSPICK_CLOEXEC | FSPICK_EMPTY_PATH) })?;
    configure(context.as_raw_fd(), options, FSCONFIG_CMD_RECONFIGURE)
}

fn configure(context: RawFd, options: &[(&str, &str)], command: u32) -> io::Result<()> {
    let null = std::ptr::null::<libc::c_char>();
    for (key, value) in options {
        let (key, value) = (c(key)?, c(value)?);
        // SAFETY: both strings are NUL-terminated and live over the call.
        check(unsafe {
            if value.as_bytes().is_empty() {
                libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_SET_FLAG, key.as_ptr(), null, 0)
            } else {
                libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0)
            }
        })?;
    }
    // SAFETY: a command takes no strings.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context, command, null, null, 0) }).map(drop)
}

/// `mount(2)` for what is simplest by path: binds inside a new root, propagation.
pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let (source, target, kind, data) = (c(source)?, c(target)?, c(kind)?, c(data)?);
    // SAFETY: all four strings are NUL-terminated and live over the call.
    check_int(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) })
        .map(drop)
}

/// Detaches the mount at `path`, with all below it.
pub fn unmount(path: &str) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Makes `new` the root of this mount namespace, and moves the old root to `old` below it.
pub fn pivot_root(new: &str, old: &str) -> io::Result<()> {
    let (new, old) = (c(new)?, c(old)?);
    // SAFETY: both paths are NUL-terminated and live over the call.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) }).map(drop)
}

pub fn chdir(path: &str) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

pub fn fchdir(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes a plain number.
    check_int(unsafe { libc::fchdir(fd) }).map(drop)
}

pub fn chroot_to_cwd() -> io::Result<()> {
    let dot = c(".")?;
    // SAFETY: the path is NUL-terminated and lives over the call.
    check_int(unsafe { libc::chroot(dot.as_ptr()) }).map(drop)
}
