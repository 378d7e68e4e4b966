//! `publish`: writes the ready file for a platform that may not reach its folder. Only paths named by `--ready` at start.

use crate::error::{Context, Error};
use crate::sys;
use std::os::fd::{AsRawFd, OwnedFd};

/// A file that was named at start, in its folder as that was then, before anything was covered.
pub struct NamedFile {
    pub path: String,
    pub folder: OwnedFd,
    pub name: String,
}

impl NamedFile {
    pub fn open(path: &str, option: &str) -> Result<NamedFile, Error> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let folder = if folder.is_empty() { "/" } else { folder };
        let opened = sys::openat(libc::AT_FDCWD, folder, libc::O_PATH | libc::O_DIRECTORY, 0);
        let folder = opened.at("start", || format!("open the folder of {option} \"{path}\""))?;
        Ok(NamedFile { path: path.to_string(), folder, name: name.to_string() })
    }
}

#[derive(Default)]
pub struct ReadyFiles(Vec<NamedFile>);

impl ReadyFiles {
    pub fn add(&mut self, path: &str) -> Result<(), Error> {
        self.0.push(NamedFile::open(path, "--ready")?);
        Ok(())
    }

    /// Replaces the file in one step; it belongs to whom the folder belongs.
    pub fn publish(&self, path: &str, content: &str) -> Result<(), Error> {
        let ready = self.0.iter().find(|ready| ready.path == path);
        let ready =
            ready.ok_or_else(|| Error::Path { field: "path", path: path.to_string(), rule: "a --ready path" })?;
        ready.write(content).at("publish", || format!("write \"{path}\""))
    }
}

impl NamedFile {
    fn write(&self, content: &str) -> std::io::Result<()> {
        let folder = self.folder.as_raw_fd();
        let owner = sys::fstat(folder)?;
        let new = format!(".{}.new", self.name);
        let _ = sys::unlinkat(folder, &new, 0);
        // EXCL and NOFOLLOW: whoever else may write in this folder cannot lead us out of it.
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let file = sys::openat(folder, &new, flags, 0o644)?;
        let mut rest = content.as_bytes();
        while !rest.is_empty() {
            rest = &rest[sys::write(file.as_raw_fd(), rest)?..];
        }
        if sys::geteuid() == 0 {
            sys::fchown(file.as_raw_fd(), owner.st_uid, owner.st_gid)?;
        }
        sys::renameat(folder, &new, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_replaces_a_file_it_was_given_and_no_other() {
        let folder = std::env::temp_dir().join(format!("hearth-publish-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("ready.json").to_string_lossy().into_owned();
        let mut files = ReadyFiles::default();
        files.add(&path).unwrap();
        // A planted link must not be followed.
        std::os::unix::fs::symlink("/dev/full", folder.join(".ready.json.new")).unwrap();
        files.publish(&path, "one").unwrap();
        files.publish(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        let error = files.publish("/etc/passwd", "x").unwrap_err();
        assert_eq!(error.to_string(), "Field \"path\" is \"/etc/passwd\", but it must be a --ready path.");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
