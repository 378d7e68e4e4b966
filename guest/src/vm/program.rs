//! The VMM programs that this launcher may start: those named by `--vmm`, and none else.

use crate::error::{Context, Error};
use crate::host::{read_only_tree, Host};
use crate::sandbox::Tree;
use crate::sys;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

/// Where libraries are, as far as the machine has them.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"];
/// Firmware and the like, below the program's prefix.
const DATA: [&str; 2] = ["share/qemu", "share/seabios"];

pub struct Program {
    pub path: String,
    /// As it was at start, past later covers.
    file: OwnedFd,
    /// It has a loader, so it needs libraries.
    is_linked: bool,
}

impl Program {
    pub fn open(path: &str) -> Result<Program, Error> {
        let open = || -> std::io::Result<Program> {
            let file = sys::openat(libc::AT_FDCWD, path, libc::O_PATH, 0)?;
            let readable = sys::openat(libc::AT_FDCWD, path, libc::O_RDONLY, 0)?;
            let mut head = [0u8; 4096];
            let count = sys::read(readable.as_raw_fd(), &mut head)?;
            Ok(Program { path: path.to_string(), file, is_linked: has_loader(&head[..count]) })
        };
        open().at("start", || format!("open --vmm \"{path}\""))
    }

    /// A program that is started as root must be such that only root could have made it.
    pub fn check_trusted(&self) -> Result<(), Error> {
        let stat = sys::fstat(self.file.as_raw_fd()).at("jail", || format!("look at \"{}\"", self.path))?;
        let is_trusted = stat.st_uid == sys::geteuid() && stat.st_mode & 0o022 == 0;
        let untrusted = || Error::Path { field: "jailer", path: self.path.clone(), rule: "writable by root alone" };
        is_trusted.then_some(()).ok_or_else(untrusted)
    }

    /// What the VMM sees of the host: itself, and when it is linked, libraries and firmware. All read-only.
    pub fn trees(&self, host: &Host) -> Result<Vec<Tree>, Error> {
        let bind = |path: &str| read_only_tree(libc::AT_FDCWD, path, path).at("mounts", || format!("bind \"{path}\""));
        let mut trees = Vec::new();
        if self.is_linked {
            let own = host.root_folders.iter().filter(|path| path.starts_with("/lib")).cloned();
            let prefix = self.path.rsplitn(3, '/').nth(2).unwrap_or("").to_string();
            let data = DATA.iter().map(|name| format!("{prefix}/{name}"));
            for path in LIBRARIES.iter().map(|path| path.to_string()).chain(own).chain(data) {
                if fs::metadata(&path).is_ok() {
                    trees.push(bind(&path)?);
                }
            }
        }
        let program = read_only_tree(self.file.as_raw_fd(), "", &self.path);
        trees.push(program.at("mounts", || format!("bind \"{}\"", self.path))?);
        Ok(trees)
    }

    /// Links of the root that lead to libraries, e.g. ("usr/lib64", "lib64").
    pub fn links(&self, host: &Host) -> Vec<(String, String)> {
        let is_library = |link: &&(String, String)| self.is_linked && link.1.starts_with("lib");
        host.root_links.iter().filter(is_library).cloned().collect()
    }
}

/// True when an ELF file names a loader (PT_INTERP). What cannot be read counts as linked: it then sees more than it needs.
/// Source: elf(5), 64 bit.
fn has_loader(head: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| head.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let u32_at = |at: usize| Some(u32::from(u16_at(at)?) | u32::from(u16_at(at + 2)?) << 16);
    if head.get(..5) != Some(b"\x7fELF\x02") {
        return true;
    }
    let (Some(table), Some(size), Some(count)) = (u32_at(32), u16_at(54), u16_at(56)) else { return true };
    let kinds = (0..usize::from(count)).map(|index| u32_at(table as usize + index * usize::from(size)));
    kinds.into_iter().any(|kind| kind.map_or(true, |kind| kind == PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_loader_tells_static_programs_from_linked_ones() {
        let head = |path: &str| fs::read(path).unwrap()[..4096].to_vec();
        assert!(has_loader(&head("/bin/sh")));
        // This test is linked as hearth-guest is: statically.
        assert!(!has_loader(&head("/proc/self/exe")));
        assert!(has_loader(b"#!/bin/sh\n"));
        assert!(has_loader(b"\x7fELF\x02"));
    }

    #[test]
    fn open_names_a_program_that_is_not_there() {
        let error = Program::open("/nowhere/qemu").err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("Cannot open --vmm \"/nowhere/qemu\": No such file or directory."));
    }
}
