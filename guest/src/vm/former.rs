//! What a former launcher left: VMs that still live, to be adopted or swept, and the traces of those that do not.

use super::record::{Record, Records};
use super::{jail, reaper, Vm};
use crate::cgroup::Cgroups;
use crate::error::Error;
use crate::sys;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;

pub struct Former {
    /// None: no VM can be started here.
    pub records: Option<Records>,
    pub survivors: Vec<(Record, OwnedFd)>,
    /// There was one, and it did not end in order.
    pub is_unfinished: bool,
}

impl Former {
    /// Ends the reaper that a former launcher left, and clears away what is dead.
    pub fn find(state: &str, is_root: bool, has_programs: bool) -> Result<Former, Error> {
        let is_there = fs::symlink_metadata(format!("{state}/vms")).is_ok();
        if !is_root || !(is_there || has_programs) {
            return Ok(Former { records: None, survivors: Vec::new(), is_unfinished: false });
        }
        let records = Records::open(state)?;
        let had_reaper = reaper::end_former(&records);
        let mut survivors: Vec<(Record, OwnedFd)> = Vec::new();
        let found = records.read();
        let is_unfinished = had_reaper || !found.is_empty();
        for record in found {
            match record.process.find() {
                Some(pidfd) => survivors.push((record, pidfd)),
                None => {
                    remove_leftovers(state, &record);
                    records.remove(&record.instance);
                }
            }
        }
        let has_jail = |name: &str| survivors.iter().any(|(record, _)| record.jail.as_deref() == Some(name));
        jail::sweep(state, has_jail);
        Ok(Former { records: Some(records), survivors, is_unfinished })
    }

    pub fn names(&self) -> Vec<String> {
        self.survivors.iter().map(|(record, _)| record.instance.clone()).collect()
    }
}

impl Vm {
    /// One that a former launcher started. What it writes to stderr is heard again from now on.
    pub fn take_over(cgroups: &Cgroups, record: Record, pidfd: OwnedFd) -> Result<Vm, Error> {
        let stderr = format!("/proc/{}/fd/2", record.process.pid);
        let is_pipe = fs::read_link(&stderr).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"));
        let open = || sys::openat(libc::AT_FDCWD, &stderr, libc::O_RDONLY | libc::O_NONBLOCK, 0).ok();
        let group = cgroups.find(&record.instance)?;
        let mut vm = Vm::new(record, pidfd, group);
        vm.stderr = if is_pipe { open() } else { None };
        vm.is_running = true;
        vm.is_adopted = false;
        vm.is_child = false;
        Ok(vm)
    }
}

/// Removes the files of a VM that a former launcher started and that has ended.
pub fn remove_leftovers(state: &str, record: &Record) {
    if let Some(name) = &record.jail {
        jail::remove(state, name);
    }
    let (uid, gid) = record.owner;
    // With the platform's own rights: the paths are its own, and it may have put anything there.
    sys::as_file_user(uid, gid, || {
        for path in &record.sockets {
            let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            if is_socket {
                let _ = fs::remove_file(path);
            }
        }
    });
}
