//! A Version that brings its own file system: what lies at the top of it takes the place of what the sandbox had of the host. The root itself stays,
//! a small tmpfs of ours: Landlock's rules of a runtime that runs already hold for what is below it.

use crate::accounts;
use crate::error::{Context, Error};
use crate::host::Host;
use crate::request::rule;
use crate::sandbox::{place, Tree};
use crate::sys::{self, Pid};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;

const STEP: &str = "root";
/// The sandbox's own; whatever the tree has there is not seen. Twins: `replace_root` in init/mounts.rs, and `ownFolders` in
/// src/artifact/oci/flatten.ts, which leaves nothing in the folders that differ: "run" and "sys" are a microVM's own, and empty here.
const OWN: [&str; 3] = ["dev", "proc", "tmp"];
/// The sandbox's until the last step, which needs an empty folder until then.
const LAST: &str = "mnt";
const RESOLVER: &str = "etc/resolv.conf";
const ENTRIES_MAX: usize = 256;

/// What lies at the top of a tree.
struct Top {
    trees: Vec<Tree>,
    /// What goes to `LAST`.
    last: Option<Tree>,
    /// Of its accounts: name in `etc`, content.
    accounts: Vec<(&'static str, Vec<u8>)>,
    /// Target and name.
    links: Vec<(String, String)>,
}

/// In the sandbox's own mount namespace, where nobody in it may mount or unmount. `user`: name and uid of whoever runs there.
pub fn replace(host: &Host, pid: Pid, folder: &str, user: (&str, u32)) -> Result<(), Error> {
    let top = gather(host, folder, user)?;
    let namespace = sys::openat(libc::AT_FDCWD, &format!("/proc/{pid}/ns/mnt"), libc::O_RDONLY, 0)
        .at(STEP, || "open the sandbox's mount namespace".to_string())?;
    host.within(&namespace, || refurnish(&top)).at(STEP, || format!("put \"{folder}\" in the place of the root"))
}

fn gather(host: &Host, folder: &str, (user, uid): (&str, u32)) -> Result<Top, Error> {
    let opened = host.open_source("code", folder)?;
    let etc = sys::openat(opened.as_raw_fd(), "etc", libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0);
    let accounts = etc.and_then(|etc| accounts::files(&etc, user, uid));
    let accounts = accounts.at(STEP, || format!("read the accounts of \"{folder}\""))?;
    let mut top = Top { trees: Vec::new(), last: None, accounts, links: Vec::new() };
    let listed = fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    for entry in listed.at(STEP, || format!("list \"{folder}\""))? {
        let entry = entry.at(STEP, || format!("list \"{folder}\""))?;
        let name = entry.file_name().into_string().map_err(|_| rule("code", "a folder with names in UTF-8"))?;
        if top.trees.len() + top.links.len() >= ENTRIES_MAX {
            return Err(rule("code", &format!("a folder with at most {ENTRIES_MAX} entries at its top")));
        }
        let path = format!("{folder}/{name}");
        if OWN.contains(&name.as_str()) {
            continue;
        } else if name == LAST {
            top.last = Some(host.tree("code", &path, &name)?);
        } else if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            let target = fs::read_link(entry.path()).at(STEP, || format!("read the link \"{path}\""))?;
            top.links.push((target.to_string_lossy().into_owned(), name));
        } else {
            top.trees.push(host.tree("code", &path, &name)?);
        }
    }
    Ok(top)
}

fn refurnish(top: &Top) -> io::Result<()> {
    let root = sys::openat(libc::AT_FDCWD, "/", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    sys::make_writable(root.as_raw_fd())?;
    let resolver = sys::open_tree(libc::AT_FDCWD, RESOLVER, false)?;
    clear()?;
    place(&top.trees, &top.links)?;
    sys::move_mount(resolver.as_raw_fd(), libc::AT_FDCWD, RESOLVER)?;
    for (name, content) in &top.accounts {
        cover(&format!("etc/{name}"), content)?;
    }
    if let Some(tree) = &top.last {
        sys::move_mount(tree.mount.as_raw_fd(), libc::AT_FDCWD, LAST)?;
    }
    sys::mount_setattr(root.as_raw_fd(), sys::MOUNT_ATTR_RDONLY, 0, false)
}

/// Shows a file with `content` at `target`, by a mount that alone leads to it.
fn cover(target: &str, content: &[u8]) -> io::Result<()> {
    let path = format!("{LAST}/content");
    fs::write(&path, content)?;
    let file = sys::open_tree(libc::AT_FDCWD, &path, false)?;
    sys::mount_setattr(file.as_raw_fd(), sys::READ_ONLY, 0, false)?;
    sys::move_mount(file.as_raw_fd(), libc::AT_FDCWD, target)?;
    sys::unlinkat(libc::AT_FDCWD, &path, 0)
}

/// Takes away what was the host's. What runs of it, as the runtime does, runs on.
fn clear() -> io::Result<()> {
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == LAST || OWN.contains(&&*name) {
            continue;
        }
        if !entry.file_type()?.is_dir() {
            sys::unlinkat(libc::AT_FDCWD, &name, 0)?;
            continue;
        }
        // What was no mount has nothing in it, or is an error: only empty folders are ever removed.
        let _ = sys::unmount(&name);
        sys::unlinkat(libc::AT_FDCWD, &name, libc::AT_REMOVEDIR)?;
    }
    Ok(())
}
