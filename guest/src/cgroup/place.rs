//! The platform's own folder in one hierarchy: made, locked, and emptied of what a predecessor left.

use super::Controller;
use crate::error::{Context, Error};
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The platform's own folder in one hierarchy.
pub struct Place {
    pub path: String,
    pub dir: OwnedFd,
    /// v1: what this hierarchy controls.
    pub controllers: Vec<Controller>,
}

impl Place {
    pub fn open(root: &str, id: &str, controllers: Vec<Controller>) -> Result<Place, Error> {
        let path = format!("{root}/hearth-{id}");
        let step = controllers.first().map_or("cgroup.v2", |controller| controller.step());
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::os(step, format!("make the cgroup \"{path}\""), error));
            }
            _ => {}
        }
        let dir = sys::openat(libc::AT_FDCWD, &path, libc::O_DIRECTORY | libc::O_RDONLY, 0)
            .at(step, || format!("open the cgroup \"{path}\""))?;
        sys::try_lock(dir.as_raw_fd()).at(step, || format!("lock the cgroup \"{path}\""))?;
        let place = Place { path, dir, controllers };
        place.clear();
        Ok(place)
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
            let Ok(dir) = sys::openat(libc::AT_FDCWD, &path, libc::O_DIRECTORY | libc::O_RDONLY, 0) else { continue };
            if sys::try_lock(dir.as_raw_fd()).is_ok() {
                let left = Place { path, dir, controllers: Vec::new() };
                left.clear();
                let _ = fs::remove_dir(&left.path);
            }
        }
    }

    /// Kills and removes what a predecessor left. Gives up after 3 s: `make` then says which folder exists.
    pub fn clear(&self) {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let mut is_empty = true;
            for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
                if !entry.file_type().map(|kind| kind.is_dir()).unwrap_or(false) {
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
