//! The process that is left behind when the launcher goes without a word while VMs live: it holds their cgroups' locks, so that no
//! other launcher sweeps them away, and kills them when no successor has come in time. A successor ends it.

use super::record::{Process, Record, Records};
use crate::cgroup::Cgroups;
use crate::egress;
use crate::error::{Context, Error};
use crate::sys::{self, Pid};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

const END_MS_MAX: i32 = 5_000;

/// The launcher's side: told at an orderly end, else it sees the pipe close.
pub struct Reaper {
    pid: Pid,
    pipe: OwnedFd,
}

pub struct Ward<'a> {
    pub records: &'a Records,
    pub cgroups: &'a Cgroups,
    /// The state folder.
    pub state: &'a str,
    /// Of the platform's network.
    pub id: &'a str,
    pub wait_ms: u64,
}

impl Reaper {
    pub fn start(ward: Ward) -> Result<Reaper, Error> {
        let (read, write) = sys::pipe(0).at("vms", || "make a pipe".to_string())?;
        let pid = sys::fork().at("vms", || "fork the reaper".to_string())?;
        if pid == 0 {
            run(&ward, read.as_raw_fd());
        }
        let reaper = Reaper { pid, pipe: write };
        let process = Process::of(pid).at("vms", || "look at the reaper".to_string())?;
        ward.records.write_reaper(&process)?;
        Ok(reaper)
    }

    /// Nothing is left for it to do.
    pub fn dismiss(self, records: &Records) {
        let _ = sys::write(self.pipe.as_raw_fd(), b"q");
        let _ = sys::wait(self.pid);
        records.remove_reaper();
    }
}

/// Ends the reaper of a predecessor; true when there was one.
pub fn end_former(records: &Records) -> bool {
    let Some(process) = records.reaper() else { return false };
    if let Some(pidfd) = process.find() {
        let _ = sys::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL);
        wait_for(&[pidfd.as_raw_fd()], END_MS_MAX);
    }
    records.remove_reaper();
    true
}

/// Waits until one of the processes has ended, or `timeout_ms`.
fn wait_for(pidfds: &[RawFd], timeout_ms: i32) {
    let mut polls: Vec<libc::pollfd> =
        pidfds.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the entries live over the call, and their number is given.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timeout_ms) };
}

fn run(ward: &Ward, pipe: RawFd) -> ! {
    let mut keep = vec![pipe, ward.records.folder(), ward.records.state()];
    keep.extend(ward.cgroups.fds());
    let _ = sys::close_all_but(&mut keep);
    let _ = sys::set_signal_mask(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    sys::set_name("hearth-reaper");
    crate::arguments::scrub();
    // SAFETY: takes nothing. No terminal's signal reaches it.
    unsafe { libc::setsid() };
    let is_dismissed = loop {
        match sys::read(pipe, &mut [0]) {
            Ok(count) => break count == 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break false,
        }
    };
    if is_dismissed {
        sys::exit(0);
    }
    let deadline = Instant::now() + Duration::from_millis(ward.wait_ms);
    let records = ward.records.read();
    let mut pidfds: Vec<OwnedFd> = records.iter().filter_map(|record| record.process.find()).collect();
    let numbers = |pidfds: &[OwnedFd]| pidfds.iter().map(|fd| fd.as_raw_fd()).collect::<Vec<_>>();
    while !pidfds.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        wait_for(&numbers(&pidfds), i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1));
        pidfds.retain(|pidfd| !sys::has_ended(pidfd.as_raw_fd()));
    }
    for pidfd in &pidfds {
        let _ = sys::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL);
        wait_for(&[pidfd.as_raw_fd()], END_MS_MAX);
    }
    clean_up(ward, &records);
    sys::exit(0)
}

fn clean_up(ward: &Ward, records: &[Record]) {
    for record in records {
        super::remove_leftovers(ward.state, record);
        ward.records.remove(&record.instance);
    }
    ward.cgroups.close(&[]);
    egress::remove_rules(ward.id);
    ward.records.remove_reaper();
    ward.records.close();
}
