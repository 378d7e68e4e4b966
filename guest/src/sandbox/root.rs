//! The steps that build a private root and enter it.

use super::{Child, Tree};
use crate::sys;
use std::io;
use std::os::fd::AsRawFd;

const SHM_BYTES: &str = "16m";
/// Tells about the machine or its kernel, or acts on them. The rest of /proc is the sandbox's own, and read-only.
pub const PROC_MASKED: [&str; 12] = [
    "acpi",
    "asound",
    "kallsyms",
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
];
const DEVICES: [(&str, u32); 5] = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("var/opt", "opt"),
];

pub fn make_root(child: &mut Child) -> io::Result<()> {
    let root = sys::new_mount("tmpfs", &[("size", "1m"), ("mode", "755")], sys::MOUNT_ATTR_NOSUID)?;
    sys::move_mount(root.as_raw_fd(), libc::AT_FDCWD, "/")?;
    sys::fchdir(root.as_raw_fd())?;
    // SAFETY: takes a plain number.
    unsafe { libc::umask(0o022) };
    for folder in ["dev", "proc", "tmp", "mnt", "var"] {
        sys::mkdirat(libc::AT_FDCWD, folder, 0o755)?;
    }
    child.root = Some(root);
    Ok(())
}

pub fn place_trees(child: &mut Child) -> io::Result<()> {
    place(child.plan.trees, child.plan.root_links)
}

/// Attaches trees and links below the current folder, the root in the making.
pub fn place(trees: &[Tree], links: &[(String, String)]) -> io::Result<()> {
    for tree in trees {
        make_target(&tree.target, tree.is_dir)?;
        sys::move_mount(tree.mount.as_raw_fd(), libc::AT_FDCWD, &tree.target)?;
    }
    for (target, path) in links {
        sys::symlinkat(target, libc::AT_FDCWD, path)?;
    }
    Ok(())
}

/// Makes a mount point and the folders above it.
fn make_target(path: &str, is_dir: bool) -> io::Result<()> {
    for (at, _) in path.match_indices('/') {
        exists_or(sys::mkdirat(libc::AT_FDCWD, &path[..at], 0o755))?;
    }
    if is_dir {
        return exists_or(sys::mkdirat(libc::AT_FDCWD, path, 0o755));
    }
    sys::openat(libc::AT_FDCWD, path, libc::O_CREAT | libc::O_RDONLY | libc::O_NOFOLLOW, 0o644).map(drop)
}

fn exists_or(made: io::Result<()>) -> io::Result<()> {
    match made {
        // EROFS: below a read-only bind, where it may exist all the same; moving the mount there tells.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EROFS)) => Ok(()),
        made => made,
    }
}

pub fn fill_dev(child: &mut Child) -> io::Result<()> {
    if child.plan.devices.is_empty() {
        // SAFETY: takes a plain number. The nodes are for everybody.
        unsafe { libc::umask(0) };
        for (name, minor) in DEVICES {
            sys::mknod_char(libc::AT_FDCWD, &format!("dev/{name}"), 1, minor)?;
        }
        // SAFETY: takes a plain number.
        unsafe { libc::umask(0o022) };
    }
    for tree in child.plan.devices {
        make_target(&tree.target, false)?;
        sys::move_mount(tree.mount.as_raw_fd(), libc::AT_FDCWD, &tree.target)?;
    }
    for (target, path) in LINKS {
        sys::symlinkat(target, libc::AT_FDCWD, path)?;
    }
    sys::mkdirat(libc::AT_FDCWD, "dev/shm", 0o755)?;
    let options = [("size", SHM_BYTES), ("mode", "1777"), ("nr_inodes", "4096")];
    let shm = sys::new_mount("tmpfs", &options, sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV)?;
    sys::move_mount(shm.as_raw_fd(), libc::AT_FDCWD, "dev/shm")
}

pub fn mount_proc(child: &mut Child) -> io::Result<()> {
    place_proc(child.plan.proc_masked, open_low_ports)
}

/// As in a container: every port of the sandbox's own network may be listened on. A machine that does not let this be set keeps the ports below 1024
/// to itself, and a program that listens on one is told so. Twin: SETTINGS in init/settings.rs.
fn open_low_ports() {
    if let Ok(file) = sys::openat(libc::AT_FDCWD, "proc/sys/net/ipv4/ip_unprivileged_port_start", libc::O_WRONLY, 0) {
        let _ = sys::write(file.as_raw_fd(), b"0");
    }
}

/// A /proc of this pid namespace's own, below the current folder; needs "mnt" and "dev/null" there. `settle` may still write to it.
pub fn place_proc(masked: &[(&'static str, bool)], settle: fn()) -> io::Result<()> {
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    let proc = sys::new_mount("proc", &[("hidepid", "invisible")], attributes)
        .or_else(|_| sys::new_mount("proc", &[("hidepid", "2")], attributes))
        .or_else(|_| sys::new_mount("proc", &[], attributes))?;
    sys::move_mount(proc.as_raw_fd(), libc::AT_FDCWD, "proc")?;
    offer_to_oom_killer()?;
    settle();
    // Read-only as a whole: writing /proc/sys is what matters, and the rest is seldom written.
    sys::mount_setattr(proc.as_raw_fd(), sys::MOUNT_ATTR_RDONLY, 0, false)?;
    for (name, is_dir) in masked {
        let mask = if *is_dir { "mnt" } else { "dev/null" };
        sys::mount(mask, &format!("proc/{name}"), "", libc::MS_BIND, "")?;
    }
    Ok(())
}

/// When memory runs out, the runtime and its children go first: before their supervisor, which the launcher takes out again once
/// the runtime is forked, and before the platform, should the whole machine run out.
fn offer_to_oom_killer() -> io::Result<()> {
    let file = sys::openat(libc::AT_FDCWD, "proc/self/oom_score_adj", libc::O_WRONLY, 0)?;
    sys::write(file.as_raw_fd(), b"500").map(drop)
}

pub fn mount_tmp(child: &mut Child) -> io::Result<()> {
    sys::move_mount(child.plan.tmp.as_raw_fd(), libc::AT_FDCWD, "tmp")
}

/// The new root lies over the old one, so entering it hides that. As root the old one is the empty, read-only tmpfs that every sandbox
/// starts from, and nobody in here may mount, unmount or chroot: it can stay, which saves `pivot_root` its look at every thread
/// of the machine (0.09 ms with 200 of them) and an unmount its wait for the other CPUs (0.1 to 0.3 ms).
pub fn enter_root(child: &mut Child) -> io::Result<()> {
    if let Some(root) = child.root.take() {
        sys::mount_setattr(root.as_raw_fd(), sys::MOUNT_ATTR_RDONLY, 0, false)?;
    }
    if child.plan.is_old_root_empty {
        sys::chroot_to_cwd()?;
    } else {
        sys::pivot_root(".", "mnt")?;
        sys::unmount("mnt")?;
    }
    sys::chdir("/")
}
