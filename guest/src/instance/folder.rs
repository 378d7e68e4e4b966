//! The launcher's folder of one sandbox, where binds are mounted while it runs.

use crate::error::{Context, Error};
use crate::host::Host;
use crate::sandbox::Tree;
use crate::sys;
use std::os::fd::{AsRawFd, RawFd};

/// Where binds appear, below the instance's `var`.
const BINDABLE: [&str; 3] = ["task", "cache/hearth", "opt"];

/// `<instance>` below the launcher's work folder. Its `var` is seen by the sandbox as a slave: mounts made here appear there.
pub struct Folder {
    work: RawFd,
    instance: String,
}

impl Folder {
    pub fn make(host: &Host, instance: &str) -> Result<Folder, Error> {
        let folder = Folder { work: host.work.as_raw_fd(), instance: instance.to_string() };
        let make = || -> std::io::Result<()> {
            sys::mkdirat(folder.work, instance, 0o755)?;
            for name in ["var", "var/task", "var/cache", "var/cache/hearth", "var/opt", "var/runtime"] {
                sys::mkdirat(folder.work, &format!("{instance}/{name}"), 0o755)?;
            }
            sys::symlinkat("/tmp", folder.work, &format!("{instance}/var/tmp"))
        };
        make().at("folder", || format!("make the folder of instance \"{instance}\""))?;
        Ok(folder)
    }

    /// `var` for the sandbox: read-only there, following what is mounted here.
    pub fn tree(&self) -> Result<Tree, Error> {
        let make = || -> std::io::Result<Tree> {
            let mount = sys::open_tree(self.work, &format!("{}/var", self.instance), false)?;
            sys::mount_setattr(mount.as_raw_fd(), sys::READ_ONLY, libc::MS_SLAVE, false)?;
            Ok(Tree { target: "var".to_string(), mount, is_dir: true })
        };
        make().at("var", || format!("bind the folder of instance \"{}\"", self.instance))
    }

    pub fn attach(&self, tree: &Tree) -> Result<(), Error> {
        let path = format!("{}/var/{}", self.instance, tree.target);
        sys::move_mount(tree.mount.as_raw_fd(), self.work, &path).at("bind", || format!("mount /var/{}", tree.target))
    }

    pub fn unmount(&self) {
        for name in BINDABLE {
            let _ = sys::unmount(&format!("/proc/self/fd/{}/{}/var/{name}", self.work, self.instance));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.unmount();
        let _ = sys::unlinkat(self.work, &format!("{}/var/tmp", self.instance), 0);
        for name in ["var/task", "var/cache/hearth", "var/cache", "var/opt", "var/runtime", "var", ""] {
            let path = format!("{}/{name}", self.instance);
            let _ = sys::unlinkat(self.work, path.trim_end_matches('/'), libc::AT_REMOVEDIR);
        }
    }
}
