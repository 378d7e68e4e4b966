//! The platform's own folder in one hierarchy: made, locked, and emptied of what a predecessor left.

use super::Controller;
use crate::error::{Context, Error};
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Another launcher that sweeps holds a folder for as long as removing it takes.
const LOCK_MS_MAX: u64 = 5_000;

/// The platform's own folder in one hierarchy.
pub struct Place {
    pub path: String,
    pub dir: OwnedFd,
    /// v1: what this hierarchy controls.
    pub controllers: Vec<Controller>,
}

impl Place {
    pub fn open(root: &str, id: &str, controllers: Vec<Controller>, kept: &[String]) -> Result<Place, Error> {
        let path = format!("{root}/hearth-{id}");
        let step = controllers.first().map_or("cgroup.v2", |controller| controller.step());
        let deadline = Instant::now() + Duration::from_millis(LOCK_MS_MAX);
        let dir = loop {
            match make_and_lock(&path).at(step, || format!("make and lock the cgroup \"{path}\""))? {
                Some(dir) => break dir,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                None => return Err(Error::Busy { path }),
            }
        };
        let place = Place { path, dir, controllers };
        place.clear(kept);
        Ok(place)
    }

    /// Names it in errors.
    pub fn step(&self) -> &'static str {
        self.controllers.first().map_or("cgroup", |controller| controller.step())
    }

    /// Removes the folders of other launchers that were killed and not started again. A living one holds a lock on its own.
    pub fn sweep(&self) {
        let Some((root, own)) = self.path.rsplit_once('/') else { return };
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{root}/{name}");
            let is_theirs = name != own && name.strip_prefix("hearth-").is_some_and(|id| id.len() == 12);
            if !is_theirs {
                continue;
            }
            // A folder that is not there any more had its owner, who may have made another of that name.
            if let Ok(Some(dir)) = lock(&path) {
                let left = Place { path, dir, controllers: Vec::new() };
                left.clear(&[]);
                let _ = fs::remove_dir(&left.path);
            }
        }
    }

    /// Kills and removes what a predecessor left, but for `kept`. Gives up after 3 s: `make` then says which folder exists.
    pub fn clear(&self, kept: &[String]) {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let mut is_empty = true;
            for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
                let is_kept = kept.iter().any(|name| entry.file_name() == name.as_str());
                if is_kept || !entry.file_type().map(|kind| kind.is_dir()).unwrap_or(false) {
                    continue;
                }
                let path = entry.path();
                kill_all(&path);
                is_empty &= fs::remove_dir(&path).is_ok();
            }
            if is_empty || Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// None while another launcher sweeps it away.
fn make_and_lock(path: &str) -> io::Result<Option<OwnedFd>> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    lock(path)
}

/// The folder, locked; None when somebody else has locked it, or removed what was opened.
fn lock(path: &str) -> io::Result<Option<OwnedFd>> {
    let dir = match sys::openat(libc::AT_FDCWD, path, libc::O_DIRECTORY | libc::O_RDONLY, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if sys::try_lock(dir.as_raw_fd()).is_err() {
        return Ok(None);
    }
    let inode = sys::fstat(dir.as_raw_fd())?.st_ino;
    let is_still_there = fs::metadata(path).is_ok_and(|found| found.ino() == inode);
    Ok(is_still_there.then_some(dir))
}

fn kill_all(group: &std::path::Path) {
    let _ = fs::write(group.join("freezer.state"), "THAWED");
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Ok(pid) = pid.parse() {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_takes_only_what_is_free_and_still_there() {
        let path = std::env::temp_dir().join(format!("hearth-lock-{}", std::process::id()));
        let path = path.to_str().unwrap();
        assert!(lock(path).unwrap().is_none());
        let held = make_and_lock(path).unwrap().unwrap();
        assert!(lock(path).unwrap().is_none());
        // Removed and made anew by somebody else: the descriptor is of no folder there is.
        let old = sys::openat(libc::AT_FDCWD, path, libc::O_DIRECTORY | libc::O_RDONLY, 0).unwrap();
        fs::remove_dir(path).unwrap();
        drop(held);
        let new = make_and_lock(path).unwrap().unwrap();
        assert_ne!(sys::fstat(old.as_raw_fd()).unwrap().st_ino, sys::fstat(new.as_raw_fd()).unwrap().st_ino);
        assert!(lock(path).unwrap().is_none());
        drop(new);
        assert!(lock(path).unwrap().is_some());
        fs::remove_dir(path).unwrap();
    }
}
