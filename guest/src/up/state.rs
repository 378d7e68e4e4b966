//! The state folder: one launcher at a time holds it, and starts with what a killed one left.

use crate::error::{Context, Error};
use crate::host::WORK;
use crate::sys;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a predecessor may take to let go of the state folder.
const LOCK_MS_MAX: u64 = 5_000;

/// 12 hex digits that name this platform's cgroups and interfaces: FNV-1a of the state folder's path. Not a secret, only a name.
pub fn identity(state: &str) -> String {
    let hash = state
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{:012x}", hash >> 16)
}

pub fn lock(path: &str) -> Result<OwnedFd, Error> {
    let folder = sys::openat(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_DIRECTORY, 0)
        .at("start", || format!("open the data folder \"{path}\""))?;
    let deadline = Instant::now() + Duration::from_millis(LOCK_MS_MAX);
    loop {
        match sys::try_lock(folder.as_raw_fd()) {
            Ok(()) => return Ok(folder),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return Err(Error::Busy { path: path.to_string() }),
        }
    }
}

/// Folders of instances that died with their agent, not those of `kept`.
pub fn remove_left_folders(state: &str, uid: u32, gid: u32, kept: &[String]) {
    in_child_as(uid, gid, || {
        for entry in fs::read_dir(format!("{state}/instances")).into_iter().flatten().flatten() {
            let is_kept = kept.iter().any(|name| entry.file_name() == name.as_str());
            if entry.file_name() != WORK && !is_kept {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    });
}

/// One of them.
pub fn remove_folder(state: &str, uid: u32, gid: u32, name: &str) {
    in_child_as(uid, gid, || drop(fs::remove_dir_all(format!("{state}/instances/{name}"))));
}

/// As the platform's own user: it could have put anything there.
fn in_child_as(uid: u32, gid: u32, act: impl FnOnce()) {
    let Ok(child) = sys::fork() else { return };
    if child != 0 {
        let _ = sys::wait(child);
        return;
    }
    if uid != sys::geteuid() && sys::become_user(uid, gid).is_err() {
        sys::exit(1);
    }
    act();
    sys::exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_twelve_digits_and_differs() {
        assert_eq!(identity("/srv/.hearth").len(), 12);
        assert_ne!(identity("/srv/.hearth"), identity("/srv/.hearth2"));
    }
}
