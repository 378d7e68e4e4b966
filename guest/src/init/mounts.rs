//! File systems of a VM: the table that init mounts at its start, and what BIND adds.

use super::identity::{HOSTNAME, HOSTS};
use super::network::RESOLV_CONF;
use super::runtime::UID;
use crate::accounts;
use crate::error::{Context, Error};
use crate::instance::tmp;
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const NOSUID: libc::c_ulong = libc::MS_NOSUID;
const NODEV: libc::c_ulong = libc::MS_NODEV;
const NOEXEC: libc::c_ulong = libc::MS_NOEXEC;

struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: libc::c_ulong,
    data: &'static str,
}

const fn row(kind: &'static str, target: &'static str, flags: libc::c_ulong, data: &'static str) -> Mount {
    Mount { kind, target, flags, data }
}

/// In this order. A target below /dev is made first; all others are in the root image.
const TABLE: [Mount; 8] = [
    row("proc", "/proc", NOSUID | NODEV | NOEXEC, "hidepid=invisible"),
    row("sysfs", "/sys", NOSUID | NODEV | NOEXEC | libc::MS_RDONLY, ""),
    row("devtmpfs", "/dev", NOSUID | NOEXEC, "mode=755"),
    row("devpts", "/dev/pts", NOSUID | NOEXEC, "mode=620,ptmxmode=666"),
    row("tmpfs", "/dev/shm", NOSUID | NODEV, "mode=1777,size=16m,nr_inodes=4096"),
    row("tmpfs", "/run", NOSUID | NODEV, "mode=755,size=1m"),
    // Its size follows at BIND; a runtime that warms up needs little.
    row("tmpfs", "/tmp", NOSUID | NODEV, "mode=1777,size=16m,nr_inodes=4096"),
    row("cgroup2", "/sys/fs/cgroup", NOSUID | NODEV | NOEXEC, ""),
];
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

const CODE_DEVICE: &str = "/dev/vdb";
const CODE_POINT: &str = "/mnt";
/// Top folders of a code image, and where the runtime looks for them.
const CODE_FOLDERS: [(&str, &str); 3] =
    [("/mnt/task", "/var/task"), ("/mnt/cache", "/var/cache/hearth"), ("/mnt/opt", "/opt")];

pub fn mount_table() -> Result<(), Error> {
    const STEP: &str = "init.mounts";
    for mount in &TABLE {
        if mount.target.starts_with("/dev/") {
            exists_or(sys::mkdirat(libc::AT_FDCWD, mount.target, 0o755))
                .at(STEP, || format!("make \"{}\"", mount.target))?;
        }
        let mounted = sys::mount(mount.kind, mount.target, mount.kind, mount.flags, mount.data);
        // The kernel, or an initramfs, may have mounted /dev.
        let mounted = match mounted {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && mount.target == "/dev" => Ok(()),
            mounted => mounted,
        };
        mounted.at(STEP, || format!("mount {} at \"{}\"", mount.kind, mount.target))?;
    }
    for (target, path) in LINKS {
        exists_or(sys::symlinkat(target, libc::AT_FDCWD, path)).at(STEP, || format!("link \"{path}\""))?;
    }
    Ok(())
}

/// Mounts the code image and shows its folders where the runtime looks. Nothing else may have read the drive: a snapshot may have been taken
/// with another image of the same size in its place. One that is a whole file system becomes the root.
pub fn mount_code(root_user: Option<&str>) -> Result<(), Error> {
    const STEP: &str = "init.code";
    let device =
        sys::openat(libc::AT_FDCWD, CODE_DEVICE, libc::O_RDONLY, 0).at(STEP, || format!("open \"{CODE_DEVICE}\""))?;
    drop_cached_blocks(&device).at(STEP, || format!("forget what was read of \"{CODE_DEVICE}\""))?;
    drop(device);
    sys::mount(CODE_DEVICE, CODE_POINT, "erofs", libc::MS_RDONLY | NOSUID | NODEV, "")
        .at(STEP, || format!("mount \"{CODE_DEVICE}\" at \"{CODE_POINT}\""))?;
    if let Some(user) = root_user {
        return replace_root(user).at(STEP, || "replace the root".to_string());
    }
    for (folder, target) in CODE_FOLDERS {
        match sys::mount(folder, target, "", libc::MS_BIND, "") {
            // No bytecode, or no layers.
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != CODE_FOLDERS[0].0 => {}
            mounted => mounted.at(STEP, || format!("show \"{folder}\" at \"{target}\""))?,
        }
    }
    sys::unmount(CODE_POINT).at(STEP, || format!("unmount \"{CODE_POINT}\""))
}

/// Takes along every process whose root is the old one: the runtime, which runs already, and this.
fn replace_root(user: &str) -> io::Result<()> {
    let new = CODE_FOLDERS[0].0;
    sys::mount(new, new, "", libc::MS_BIND, "")?;
    // Twin: OWN in instance/root.rs.
    for own in ["/proc", "/sys", "/dev", "/run", "/tmp"] {
        sys::mount(own, &format!("{new}{own}"), "", libc::MS_MOVE, "")?;
    }
    sys::pivot_root(new, &format!("{new}{CODE_POINT}"))?;
    sys::unmount(CODE_POINT)?;
    // The resolver is known later, and a clone's name changes: both are written in place.
    fs::File::options().create(true).append(true).open(RESOLV_CONF)?;
    for (file, target) in [(RESOLV_CONF, "/etc/resolv.conf"), (HOSTS, "/etc/hosts"), (HOSTNAME, "/etc/hostname")] {
        sys::mount(file, target, "", libc::MS_BIND, "")?;
    }
    let etc = sys::openat(libc::AT_FDCWD, "/etc", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    for (name, content) in accounts::files(&etc, user, UID)? {
        fs::write(format!("/run/{name}"), content)?;
        sys::mount(&format!("/run/{name}"), &format!("/etc/{name}"), "", libc::MS_BIND, "")?;
    }
    Ok(())
}

fn drop_cached_blocks(device: &OwnedFd) -> io::Result<()> {
    const BLKFLSBUF: libc::c_ulong = 0x1261;
    // SAFETY: takes a plain number.
    sys::check_int(unsafe { libc::ioctl(device.as_raw_fd(), BLKFLSBUF as _, 0) }).map(drop)
}

pub fn resize_tmp(mib: u64) -> Result<(), Error> {
    let (size, inodes) = tmp::tmp_size(mib);
    let data = format!("size={size},nr_inodes={inodes}");
    sys::mount("tmpfs", "/tmp", "tmpfs", libc::MS_REMOUNT | NOSUID | NODEV, &data)
        .at("init.tmp", || format!("resize /tmp to {mib} MiB"))
}

/// Bytes used in /tmp, and whether no more fits.
pub fn tmp_usage() -> (u64, bool) {
    match sys::openat(libc::AT_FDCWD, "/tmp", libc::O_PATH | libc::O_DIRECTORY, 0) {
        Ok(folder) => tmp::usage(folder.as_raw_fd()),
        Err(_) => (0, false),
    }
}

/// Value of a word `name=value` of the kernel's command line.
pub fn kernel_word(name: &str) -> Option<String> {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    word_of(&line, name)
}

fn word_of(line: &str, name: &str) -> Option<String> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_string)
}

fn exists_or(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_of_reads_whole_names_only() {
        let line = "quiet hearth.epochs=x hearth.epoch=e-7 ro -- init\n";
        assert_eq!(word_of(line, "hearth.epoch").as_deref(), Some("e-7"));
        assert_eq!(word_of(line, "hearth"), None);
        assert_eq!(word_of(line, "ro"), None);
    }
}
