//! `read`: hands over a file that the platform may not read itself and needs anew, such as a renewed certificate. Only paths named by `--readable` at start.

use crate::error::{Context, Error};
use crate::publish::NamedFile;
use crate::sys;
use std::io;
use std::os::fd::AsRawFd;

/// What fits into a reply's line, with its line ends written as two characters.
const BYTES_MAX: usize = 48 * 1024;

#[derive(Default)]
pub struct ReadableFiles(Vec<NamedFile>);

impl ReadableFiles {
    pub fn add(&mut self, path: &str) -> Result<(), Error> {
        self.0.push(NamedFile::open(path, "--readable")?);
        Ok(())
    }

    /// What the file holds now: another one may have taken its place, or its link leads elsewhere.
    pub fn read(&self, path: &str) -> Result<String, Error> {
        let file = self.0.iter().find(|file| file.path == path);
        let file =
            file.ok_or_else(|| Error::Path { field: "path", path: path.to_string(), rule: "a --readable path" })?;
        read(file).at("read", || format!("read \"{path}\""))
    }
}

fn read(file: &NamedFile) -> io::Result<String> {
    refuse_planted(file)?;
    // A pipe without a writer would hold up everything.
    let opened = sys::openat(file.folder.as_raw_fd(), &file.name, libc::O_RDONLY | libc::O_NONBLOCK, 0)?;
    match sys::fstat(opened.as_raw_fd())?.st_mode & libc::S_IFMT {
        libc::S_IFREG => {}
        libc::S_IFDIR => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
        _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
    let mut bytes = vec![0; BYTES_MAX + 1];
    let mut count = 0;
    while count < bytes.len() {
        match sys::read(opened.as_raw_fd(), &mut bytes[count..])? {
            0 => break,
            more => count += more,
        }
    }
    if count > BYTES_MAX {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    bytes.truncate(count);
    // Each of the others takes six characters in a line.
    let is_text =
        |text: &String| !text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'));
    let text = String::from_utf8(bytes).ok().filter(is_text);
    text.ok_or_else(|| io::Error::from_raw_os_error(libc::EILSEQ))
}

/// As root a link is followed only where nobody but root, or whoever runs this, could have put it: the platform must not choose what root reads.
fn refuse_planted(file: &NamedFile) -> io::Result<()> {
    let found = sys::openat(file.folder.as_raw_fd(), &file.name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    if sys::fstat(found.as_raw_fd())?.st_mode & libc::S_IFMT != libc::S_IFLNK {
        return Ok(());
    }
    let folder = sys::fstat(file.folder.as_raw_fd())?;
    let is_ours = folder.st_uid == 0 || folder.st_uid == sys::geteuid();
    if is_ours && folder.st_mode & (libc::S_IWGRP | libc::S_IWOTH) == 0 {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn read_gives_what_is_there_now_and_no_other_file() {
        let folder = std::env::temp_dir().join(format!("hearth-reread-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("cert.pem");
        let path = file.to_string_lossy().into_owned();
        let mut files = ReadableFiles::default();
        files.add(&path).unwrap();
        fs::write(&file, "one\n").unwrap();
        assert_eq!(files.read(&path).unwrap(), "one\n");
        // As certbot does it.
        fs::write(folder.join("cert2.pem"), "two\n").unwrap();
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("cert2.pem", &file).unwrap();
        assert_eq!(files.read(&path).unwrap(), "two\n");
        // Where others may put links, none is followed.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(files.read(&path).unwrap_err().to_string().contains("symbolic links"));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let error = files.read("/etc/shadow").unwrap_err();
        assert_eq!(error.to_string(), "Field \"path\" is \"/etc/shadow\", but it must be a --readable path.");
        for (content, reason) in
            [(vec![b'x'; BYTES_MAX + 1], "File too large"), (vec![0xff], "Invalid"), (vec![7], "Invalid")]
        {
            fs::write(&file, content).unwrap();
            assert!(files.read(&path).unwrap_err().to_string().contains(reason));
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(files.read(&path).unwrap_err().to_string().contains("Is a directory"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
