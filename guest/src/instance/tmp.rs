//! The sandbox's /tmp: a tmpfs that the launcher sizes and measures from outside.

use crate::error::{Context, Error};
use crate::sys;
use std::os::fd::{OwnedFd, RawFd};

/// The sandbox's /tmp, detached: this descriptor stays in the launcher to measure and resize it.
pub fn make(mib: u64, uid: u32) -> Result<OwnedFd, Error> {
    let uid = uid.to_string();
    let (size, inodes) = tmp_size(mib);
    let options = [
        ("size", size.as_str()),
        ("nr_inodes", inodes.as_str()),
        ("mode", "1777"),
        ("uid", uid.as_str()),
        ("gid", uid.as_str()),
    ];
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
    let made = sys::new_mount("tmpfs", &options, attributes);
    // In a user namespace the gid may not be mapped.
    made.or_else(|_| sys::new_mount("tmpfs", &options[..3], attributes))
        .at("tmp", || format!("make a tmpfs of {mib} MiB"))
}

pub fn resize(tmp: RawFd, mib: u64) -> Result<(), Error> {
    let (size, inodes) = tmp_size(mib);
    sys::reconfigure(tmp, &[("size", &size), ("nr_inodes", &inodes)]).at("tmp", || format!("resize /tmp to {mib} MiB"))
}

/// Bytes used, and whether no more fits: counting to the last block would miss a file that needed two.
pub fn usage(tmp: RawFd) -> (u64, bool) {
    let Ok(stat) = sys::fstatfs(tmp) else { return (0, false) };
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let is_full = used * 100 >= stat.f_blocks * 99 || stat.f_ffree == 0;
    (used * stat.f_bsize as u64, is_full)
}

/// Size, and as many inodes as there are pages: files of nothing cost kernel memory too.
pub fn tmp_size(mib: u64) -> (String, String) {
    (format!("{mib}m"), (mib * 256).to_string())
}
