//! What a sandbox sees of the host, as detached read-only mounts.

use super::folder::Folder;
use crate::error::{Context, Error};
use crate::host::{read_only_tree, Host};
use crate::request::Spawn;
use crate::sandbox::Tree;
use crate::sys;
use std::os::fd::{AsRawFd, OwnedFd};

/// What a sandbox sees of the host: /usr and its kin, `etc`, its own `var`, and the binds of the request.
pub fn gather(host: &Host, folder: &Folder, request: &Spawn) -> Result<Vec<Tree>, Error> {
    let mut trees = vec![host_tree("/usr")?];
    for path in &host.root_folders {
        trees.push(host_tree(path)?);
    }
    trees.push(host.tree("etc", &request.etc, "etc")?);
    trees.push(folder.tree()?);
    for bind in &request.binds {
        trees.push(host.tree("binds", &bind.source, &bind.target)?);
    }
    Ok(trees)
}

/// A folder that every sandbox sees, whatever `--source` says.
fn host_tree(path: &str) -> Result<Tree, Error> {
    read_only_tree(libc::AT_FDCWD, path, path).at("binds", || format!("bind \"{path}\""))
}

/// Later layers cover earlier ones.
pub fn merge_layers(host: &Host, layers: &[String]) -> Result<Tree, Error> {
    let opened: Vec<OwnedFd> = layers.iter().map(|path| host.open_source("layers", path)).collect::<Result<_, _>>()?;
    // By descriptor: a path may hold the ":" and "," that separate options.
    let lower: Vec<String> = opened.iter().rev().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    let mount = sys::new_mount("overlay", &[("lowerdir", &lower.join(":"))], sys::READ_ONLY);
    let mount = mount.at("layers", || format!("merge {} layers", layers.len()))?;
    Ok(Tree { target: "opt".to_string(), mount, is_dir: true })
}
