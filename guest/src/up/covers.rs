//! What the platform's user must reach is made reachable, in this mount namespace alone.

use super::options::Arguments;
use crate::error::{Context, Error};
use crate::host::{real_path, Cover};
use crate::sys;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

pub fn wanted_paths(arguments: &Arguments) -> Vec<String> {
    let program = arguments.command.first().filter(|program| program.starts_with('/'));
    arguments.keep.iter().chain([&arguments.state]).chain(program).cloned().collect()
}

struct Kept {
    path: String,
    original: OwnedFd,
}

/// Covers each topmost folder that keeps `uid` from a wanted path, and binds the wanted paths below it back in place.
pub fn cover_unreachable(wanted: &[String], uid: u32, gid: u32) -> Result<Vec<Cover>, Error> {
    let mut paths: Vec<String> = wanted.iter().flat_map(|path| [path.clone(), real_path(path)]).collect();
    paths.sort();
    paths.dedup();
    let mut kept = Vec::new();
    for path in paths {
        // A path that does not exist yet is made later by whoever needs it, in a folder that is reachable or is kept itself.
        if let Ok(original) = sys::openat(libc::AT_FDCWD, &path, libc::O_PATH, 0) {
            kept.push(Kept { path, original });
        }
    }
    let mut covers: Vec<Cover> = Vec::new();
    for index in 0..kept.len() {
        // Each round makes one more folder on the way searchable.
        while let Some(folder) = first_unsearchable(&kept[index].path, uid, gid) {
            if covers.iter().any(|cover| cover.path == folder) {
                break;
            }
            let original = cover(&folder, &kept).at("keep", || format!("make \"{}\" reachable", kept[index].path))?;
            covers.push(Cover { path: folder, original });
        }
    }
    Ok(covers)
}

/// The topmost folder above `path` that `uid` may not search.
fn first_unsearchable(path: &str, uid: u32, gid: u32) -> Option<String> {
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty());
    let is_denied = |folder: &&str| {
        let look = || sys::openat(libc::AT_FDCWD, &format!("{folder}/."), libc::O_PATH | libc::O_DIRECTORY, 0);
        sys::as_file_user(uid, gid, look).err().and_then(|error| error.raw_os_error()) == Some(libc::EACCES)
    };
    folders.into_iter().find(is_denied).map(str::to_string)
}

/// Mounts a searchable tmpfs over `folder` and binds what is kept below it back; returns the folder as it was.
fn cover(folder: &str, kept: &[Kept]) -> std::io::Result<OwnedFd> {
    let original = sys::openat(libc::AT_FDCWD, folder, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
    let tmpfs = sys::new_mount("tmpfs", &[("size", "1m"), ("mode", "755")], attributes)?;
    sys::move_mount(tmpfs.as_raw_fd(), libc::AT_FDCWD, folder)?;
    let mut placed: Vec<&str> = Vec::new();
    for Kept { path, original } in kept {
        let is_below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        if !is_below(folder) || placed.iter().any(|above| is_below(above)) {
            continue;
        }
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > folder.len()) {
            exists_or(fs::create_dir(&path[..at]))?;
        }
        if sys::is_dir(original.as_raw_fd())? {
            exists_or(fs::create_dir(path))?;
        } else {
            drop(fs::File::create(path)?);
        }
        let tree = sys::open_tree(original.as_raw_fd(), "", true)?;
        sys::move_mount(tree.as_raw_fd(), libc::AT_FDCWD, path)?;
        placed.push(path);
    }
    Ok(original)
}

fn exists_or(made: std::io::Result<()>) -> std::io::Result<()> {
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
