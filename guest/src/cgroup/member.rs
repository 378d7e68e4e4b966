//! One sandbox's folder in one hierarchy, and the files in it.

use super::place::Place;
use crate::error::{Context, Error};
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// One sandbox's folder in one hierarchy.
pub struct Member {
    parent: RawFd,
    dir: OwnedFd,
}

impl Member {
    pub fn make(place: &Place, instance: &str, step: &'static str) -> Result<Member, Error> {
        let parent = place.dir.as_raw_fd();
        let path = || format!("make the cgroup \"{}/{instance}\"", place.path);
        sys::mkdirat(parent, instance, 0o755).at(step, path)?;
        Member::find(place, instance, step)
    }

    pub fn find(place: &Place, instance: &str, step: &'static str) -> Result<Member, Error> {
        let parent = place.dir.as_raw_fd();
        let dir = sys::openat(parent, instance, libc::O_DIRECTORY | libc::O_RDONLY, 0)
            .at(step, || format!("open the cgroup \"{}/{instance}\"", place.path))?;
        Ok(Member { parent, dir })
    }

    pub fn fd(&self) -> RawFd {
        self.dir.as_raw_fd()
    }

    pub fn open(&self, file: &str, flags: i32) -> io::Result<OwnedFd> {
        sys::openat(self.dir.as_raw_fd(), file, flags, 0)
    }

    pub fn write(&self, step: &'static str, file: &str, value: &str) -> Result<(), Error> {
        let write = || {
            let fd = sys::openat(self.dir.as_raw_fd(), file, libc::O_WRONLY, 0)?;
            sys::write(fd.as_raw_fd(), value.as_bytes()).map(drop)
        };
        write().at(step, || format!("write \"{value}\" to {file}"))
    }

    pub fn read(&self, file: &str) -> io::Result<String> {
        let fd = sys::openat(self.dir.as_raw_fd(), file, libc::O_RDONLY, 0)?;
        let mut buffer = [0u8; 4096];
        let length = sys::read(fd.as_raw_fd(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    pub fn number(&self, file: &str) -> u64 {
        self.read(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Value of a line `key value` in a file of such lines.
    pub fn line(&self, file: &str, key: &str) -> u64 {
        self.read(file).map(|text| value_of(&text, key)).unwrap_or(0)
    }

    /// True when the folder is gone, by this call or before.
    pub fn remove(&self, instance: &str) -> bool {
        match sys::unlinkat(self.parent, instance, libc::AT_REMOVEDIR) {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        }
    }
}

fn value_of(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_reads_whole_keys_only() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(value_of(text, "oom_kill"), 3);
        assert_eq!(value_of(text, "oom"), 0);
        assert_eq!(value_of("frozen x\n", "frozen"), 0);
    }
}
