//! RAM templates: a snapshot's memory as a sealed memfd, which clones map privately. All clones of a template share its pages,
//! and none can change it. Copying is done by a forked helper, so that no verb waits for it (84 MiB take 40 ms).

use crate::error::{Context, Error};
use crate::host::Host;
use crate::sys::{self, Ended, Pid};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A machine of 64 GiB would hold no more than a few of the largest; the bound is for mistakes.
const TEMPLATES_MAX: usize = 256;
const BYTES_MAX: i64 = 64 << 30;
const CHUNK_BYTES: usize = 1 << 20;

/// A copy in the making.
pub struct Copy {
    pub name: String,
    pub request: u64,
    pub pidfd: OwnedFd,
    pid: Pid,
    memfd: OwnedFd,
    is_forgotten: bool,
}

#[derive(Default)]
pub struct Templates {
    ready: HashMap<String, OwnedFd>,
    copies: Vec<Copy>,
}

impl Templates {
    /// Starts to copy `path`; the helper's pidfd becomes readable when it is done, and `finish` takes it.
    pub fn start(&mut self, host: &Host, name: &str, path: &str, request: u64) -> Result<RawFd, Error> {
        if self.ready.contains_key(name) || self.copies.iter().any(|copy| copy.name == name) {
            return Err(Error::TemplateExists { name: name.to_string() });
        }
        if self.ready.len() + self.copies.len() >= TEMPLATES_MAX {
            return Err(Error::Missing {
                feature: "template",
                reason: format!("there are {TEMPLATES_MAX} templates already"),
                fix: "Drop one with vm_forget.",
            });
        }
        let found = host.open_source("path", path).map_err(|error| error.with_step("template"))?;
        let at = || format!("open \"{path}\"");
        let source = super::inputs::reopen(host, &found, libc::O_RDONLY).at("template", at)?;
        let stat = sys::fstat(source.as_raw_fd()).at("template", at)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG || !(4096..=BYTES_MAX).contains(&stat.st_size) {
            let rule = "a plain file of 4 KiB to 64 GiB";
            return Err(Error::Path { field: "path", path: path.to_string(), rule });
        }
        let memfd = sys::memfd("hearth-template")
            .and_then(|memfd| sys::set_length(memfd.as_raw_fd(), stat.st_size as u64).map(|()| memfd))
            .at("template", || format!("make {} bytes of memory", stat.st_size))?;
        let pid = sys::fork().at("template", || "fork a helper".to_string())?;
        if pid == 0 {
            help(source.as_raw_fd(), memfd.as_raw_fd());
        }
        let pidfd = sys::pidfd_open(pid).at("template", || "watch the helper".to_string())?;
        let fd = pidfd.as_raw_fd();
        self.copies.push(Copy { name: name.to_string(), request, pidfd, pid, memfd, is_forgotten: false });
        Ok(fd)
    }

    /// The copy that `pidfd` belongs to has ended: its request, and how it went.
    pub fn finish(&mut self, pidfd: RawFd) -> Option<(u64, Result<(), Error>)> {
        let index = self.copies.iter().position(|copy| copy.pidfd.as_raw_fd() == pidfd)?;
        let ended = sys::reap(self.copies[index].pid).ok().flatten()?.1;
        let copy = self.copies.swap_remove(index);
        let errno = match ended {
            Ended::Exited(code) => code,
            Ended::Signalled(_) => libc::EINTR,
        };
        let copied = if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) };
        let sealed = copied.and_then(|()| sys::seal(copy.memfd.as_raw_fd()));
        let done = sealed.at("template", || format!("copy template \"{}\"", copy.name));
        let done = match done {
            Ok(()) if copy.is_forgotten => Err(Error::UnknownTemplate { name: copy.name }),
            Ok(()) => {
                self.ready.insert(copy.name, copy.memfd);
                Ok(())
            }
            failed => failed,
        };
        Some((copy.request, done))
    }

    /// A descriptor of one that is ready.
    pub fn get(&self, name: &str) -> Result<OwnedFd, Error> {
        let memfd = self.ready.get(name).ok_or_else(|| Error::UnknownTemplate { name: name.to_string() })?;
        memfd.try_clone().at("template", || format!("copy the descriptor of template \"{name}\""))
    }

    /// Clones that have it keep it.
    pub fn forget(&mut self, name: &str) {
        self.ready.remove(name);
        for copy in self.copies.iter_mut().filter(|copy| copy.name == name) {
            copy.is_forgotten = true;
            let _ = sys::pidfd_kill(copy.pidfd.as_raw_fd(), libc::SIGKILL);
        }
    }
}

/// The helper: copies what is no hole, and exits with 0 or the error's number.
fn help(source: RawFd, memfd: RawFd) -> ! {
    let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
    let _ = sys::close_all_but(&mut vec![source, memfd]);
    sys::set_name("hearth-copy");
    let code = copy_extents(source, memfd).err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    sys::exit(code)
}

fn copy_extents(source: RawFd, memfd: RawFd) -> io::Result<()> {
    let mut buffer = vec![0u8; CHUNK_BYTES];
    let mut offset = 0;
    while let Some((start, end)) = sys::next_extent(source, offset)? {
        offset = start;
        while offset < end {
            let wanted = CHUNK_BYTES.min((end - offset) as usize);
            let count = sys::read_at(source, &mut buffer[..wanted], offset)?;
            if count == 0 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let mut written = 0;
            while written < count {
                written += sys::write_at(memfd, &buffer[written..count], offset + written as i64)?;
            }
            offset += count as i64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn copy_extents_copies_data_and_leaves_holes() {
        let path = std::env::temp_dir().join(format!("hearth-template-{}", std::process::id()));
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8 + 1).collect();
        for at in [4096u64, 40 << 20] {
            file.write_all_at(&data, at).unwrap();
        }
        let memfd = sys::memfd("test").unwrap();
        sys::set_length(memfd.as_raw_fd(), 64 << 20).unwrap();
        copy_extents(file.as_raw_fd(), memfd.as_raw_fd()).unwrap();
        sys::seal(memfd.as_raw_fd()).unwrap();
        let copy = std::fs::File::from(memfd);
        let mut got = vec![0u8; data.len()];
        for at in [4096u64, 40 << 20] {
            copy.read_exact_at(&mut got, at).unwrap();
            assert!(got == data);
        }
        assert!(copy.metadata().unwrap().blocks() * 512 < 8 << 20);
        // Sealed: for writing and for its size.
        assert_eq!(copy.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(copy.set_len(1).unwrap_err().raw_os_error(), Some(libc::EPERM));
        std::fs::remove_file(path).unwrap();
    }
}
