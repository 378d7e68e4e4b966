//! What a VMM gets as open descriptors: sockets that listen, files, memory. Everything is opened with the platform's own file
//! permissions, past covers, and only below what the launcher was given.

use crate::error::{Context, Error};
use crate::host::Host;
use crate::request::{Access, Memory, VmFile};
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const MIB: u64 = 1_048_576;

/// A file that the launcher made for a VM; removed when dropped.
pub struct Made {
    folder: OwnedFd,
    name: String,
    owner: (u32, u32),
    is_kept: bool,
}

impl Made {
    /// Stays when the VM has ended.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.is_kept {
            let (uid, gid) = self.owner;
            let _ = sys::as_file_user(uid, gid, || sys::unlinkat(self.folder.as_raw_fd(), &self.name, 0));
        }
    }
}

/// The RAM file that a VM was given to make; closed to others when dropped.
pub struct Ram {
    pub made: Made,
    pub file: OwnedFd,
}

impl Ram {
    /// Stays when the VM has ended.
    pub fn keep(&mut self) {
        self.made.keep();
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // No later VMM of the same uid may write to it.
        let _ = sys::fchmod(self.file.as_raw_fd(), 0o600);
    }
}

fn owner(host: &Host) -> (u32, u32) {
    (host.platform_uid, host.platform_gid)
}

fn as_platform<T>(host: &Host, act: impl FnOnce() -> T) -> T {
    let (uid, gid) = owner(host);
    sys::as_file_user(uid, gid, act)
}

/// The folder above `path`, and the name in it.
fn parent(host: &Host, field: &'static str, step: &'static str, path: &str) -> Result<(OwnedFd, String), Error> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = if folder.is_empty() { "/" } else { folder };
    let opened = host.open_source(field, folder).map_err(|error| error.with_step(step))?;
    Ok((opened, name.to_string()))
}

/// Listens on `path`; the file is the platform's alone.
pub fn listen(host: &Host, path: &str) -> Result<(OwnedFd, Made), Error> {
    let (folder, name) = parent(host, "listen.path", "listen", path)?;
    let socket = as_platform(host, || sys::listen_unix(folder.as_raw_fd(), &name));
    let socket = socket.at("listen", || format!("listen on \"{path}\""))?;
    Ok((socket, Made { folder, name, owner: owner(host), is_kept: false }))
}

/// Opens one of `files` for a VMM that will run as `uid`.
pub fn open(host: &Host, file: &VmFile, uid: u32) -> Result<OwnedFd, Error> {
    let path = &file.path;
    let at = |action: &str| format!("{action} \"{path}\"");
    // Never through a link; NONBLOCK, so that a pipe without a reader does not hold us up.
    let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    if file.access == Access::Write {
        let (folder, name) = parent(host, "files.path", "files", path)?;
        let opened = as_platform(host, || sys::openat(folder.as_raw_fd(), &name, flags | libc::O_CREAT, 0o600));
        return of_kind(libc::S_IFREG, opened.at("files", || at("open for writing"))?, path);
    }
    if file.access == Access::Pipe {
        let (folder, name) = parent(host, "files.path", "files", path)?;
        let opened = as_platform(host, || match sys::mkfifoat(folder.as_raw_fd(), &name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => sys::openat(folder.as_raw_fd(), &name, flags, 0),
        });
        return of_kind(libc::S_IFIFO, opened.at("files", || at("make the pipe"))?, path);
    }
    let found = host.open_source("files.path", path).map_err(|error| error.with_step("files"))?;
    if file.access == Access::Connect {
        return share_socket(host, found, path, uid);
    }
    of_kind(libc::S_IFREG, reopen(host, &found, libc::O_RDONLY).at("files", || at("open"))?, path)
}

pub fn reopen(host: &Host, found: &OwnedFd, flags: i32) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    as_platform(host, || sys::openat(libc::AT_FDCWD, &path, flags | libc::O_NONBLOCK, 0))
}

fn of_kind(wanted: u32, opened: OwnedFd, path: &str) -> Result<OwnedFd, Error> {
    let rule = if wanted == libc::S_IFIFO { "a named pipe" } else { "a plain file" };
    match kind_of(&opened, path)? == wanted {
        true => Ok(opened),
        false => Err(Error::Path { field: "files.path", path: path.to_string(), rule }),
    }
}

fn kind_of(opened: &OwnedFd, path: &str) -> Result<u32, Error> {
    let stat = sys::fstat(opened.as_raw_fd()).at("files", || format!("look at \"{path}\""))?;
    Ok(stat.st_mode & libc::S_IFMT)
}

/// Lets the group of `uid` connect to a socket of the platform's.
fn share_socket(host: &Host, found: OwnedFd, path: &str, uid: u32) -> Result<OwnedFd, Error> {
    let stat = sys::fstat(found.as_raw_fd()).at("files", || format!("look at \"{path}\""))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK || stat.st_uid != host.platform_uid {
        return Err(Error::Path { field: "files.path", path: path.to_string(), rule: "a socket of the platform's" });
    }
    let share = || -> io::Result<()> {
        sys::fchown_path(found.as_raw_fd(), stat.st_uid, uid)?;
        sys::chmod(&format!("/proc/self/fd/{}", found.as_raw_fd()), 0o660)
    };
    share().at("files", || format!("share the socket \"{path}\""))?;
    Ok(found)
}

/// The memory of a VM, if it is not the VMM's own; the file when one was made.
pub fn memory(
    host: &Host,
    memory: &Memory,
    uid: u32,
    template: impl FnOnce(&str) -> Result<OwnedFd, Error>,
) -> Result<(Option<OwnedFd>, Option<Made>), Error> {
    match memory {
        Memory::Own => Ok((None, None)),
        Memory::Template { name } => template(name).map(|memfd| (Some(memfd), None)),
        Memory::Create { path, mib } => {
            let (folder, name) = parent(host, "memory.create", "memory", path)?;
            // A RAM file must not be used again: clones may still map it.
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let opened = as_platform(host, || sys::openat(folder.as_raw_fd(), &name, flags, 0o600));
            let opened = opened.at("memory", || format!("make \"{path}\""))?;
            let made = Made { folder, name, owner: owner(host), is_kept: false };
            // QEMU opens it anew by /proc/self/fd, as its own user.
            let prepare = || -> io::Result<()> {
                sys::set_length(opened.as_raw_fd(), mib * MIB)?;
                sys::fchown(opened.as_raw_fd(), host.platform_uid, uid)?;
                sys::fchmod(opened.as_raw_fd(), 0o660)
            };
            prepare().at("memory", || format!("make \"{path}\" {mib} MiB long"))?;
            Ok((Some(opened), Some(made)))
        }
    }
}
