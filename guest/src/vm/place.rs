//! `vm_place`: a file of this machine appears in the root of a running VMM, read-only, as `/vm/<name>`.
//!
//! `/vm` is a tmpfs of root's in the VMM's own mount namespace: the VMM can look into it and change nothing there.

use super::Vm;
use crate::error::{Context, Error};
use crate::host::Host;
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Where placed files appear.
pub const FOLDER: &str = "vm";

impl Vm {
    pub fn place(&self, host: &Host, name: &str, path: &str) -> Result<(), Error> {
        let tree = host.tree("path", path, name)?;
        let action = || format!("place \"{name}\" in VM \"{}\"", self.id);
        let own = self.namespace("mnt").at("place", action)?;
        host.in_mounts_of(&own, || attach(&tree.mount, name)).at("place", action)
    }
}

/// Runs in the VMM's mount namespace, whose root is the current folder.
fn attach(mount: &OwnedFd, name: &str) -> io::Result<()> {
    let target = format!("/{FOLDER}/{name}");
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_WRONLY;
    sys::openat(libc::AT_FDCWD, &target, flags, 0o444)?;
    sys::move_mount(mount.as_raw_fd(), libc::AT_FDCWD, &target)
}
