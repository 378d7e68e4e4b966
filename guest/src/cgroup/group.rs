//! The folders of one sandbox in all hierarchies, as one thing to limit, freeze, count and remove.

use super::member::Member;
use super::peak::Peak;
use super::{v1, v2, Controller};
use crate::error::Error;
use crate::sys;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub memory_bytes: u64,
    pub memory_peak_bytes: u64,
    pub cpu_ms: u64,
    pub pids: u64,
    pub oom_kills: u64,
}

pub struct Group {
    pub(super) instance: String,
    pub(super) v1: Vec<(Vec<Controller>, Member)>,
    pub(super) v2: Option<(Vec<Controller>, Member)>,
    pub(super) peak: Peak,
    pub(super) is_removed: bool,
}

/// Where a controller's files are.
enum Home<'a> {
    V1(&'a Member),
    V2(&'a Member),
}

impl Group {
    /// Without folders so far.
    pub(super) fn of(instance: &str) -> Group {
        Group { instance: instance.to_string(), v1: Vec::new(), v2: None, peak: Peak::default(), is_removed: false }
    }

    fn home(&self, controller: Controller) -> Option<Home<'_>> {
        if let Some((controllers, member)) = &self.v2 {
            if controllers.contains(&controller) {
                return Some(Home::V2(member));
            }
        }
        let (_, member) = self.v1.iter().find(|(controllers, _)| controllers.contains(&controller))?;
        Some(Home::V1(member))
    }

    /// v2 freezes without a controller, and better than v1.
    fn freezer(&self) -> Option<Home<'_>> {
        match &self.v2 {
            Some((_, member)) => Some(Home::V2(member)),
            None => self.home(Controller::Freezer),
        }
    }

    /// The v2 folder for CLONE_INTO_CGROUP.
    pub fn v2_fd(&self) -> Option<RawFd> {
        self.v2.as_ref().map(|(_, member)| member.fd())
    }

    /// v2: a process that writes "0" to it joins.
    pub fn open_procs(&self) -> io::Result<OwnedFd> {
        let folder = self.v2_fd().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        sys::openat(folder, "cgroup.procs", libc::O_WRONLY, 0)
    }

    pub fn limit_memory(&self, mib: u64) -> Result<(), Error> {
        match self.home(Controller::Memory) {
            Some(Home::V1(member)) => v1::limit_memory(member, mib),
            Some(Home::V2(member)) => v2::limit_memory(member, mib),
            None => Ok(()),
        }
    }

    pub fn limit_pids(&self, max: u64) -> Result<(), Error> {
        match self.home(Controller::Pids) {
            Some(Home::V1(member) | Home::V2(member)) => member.write("cgroup.pids", "pids.max", &max.to_string()),
            None => Ok(()),
        }
    }

    /// v2: when memory runs out, everything in the folder dies, not one process of many.
    pub fn die_together(&self) -> Result<(), Error> {
        match self.home(Controller::Memory) {
            Some(Home::V2(member)) => member.write("cgroup.memory", "memory.oom.group", "1"),
            _ => Ok(()),
        }
    }

    /// v2: ends everything in the folder.
    pub fn kill(&self) -> Result<(), Error> {
        match &self.v2 {
            Some((_, member)) => member.write("cgroup.kill", "cgroup.kill", "1"),
            None => Ok(()),
        }
    }

    /// `share` is relative: 1024 for a CPU, as v1 counts.
    pub fn share_cpu(&self, share: u64) -> Result<(), Error> {
        match self.home(Controller::Cpu) {
            Some(Home::V1(member)) => v1::share_cpu(member, share),
            Some(Home::V2(member)) => v2::share_cpu(member, share),
            None => Ok(()),
        }
    }

    pub fn set_frozen(&self, is_frozen: bool) -> Result<(), Error> {
        match self.freezer() {
            Some(Home::V1(member)) => v1::set_frozen(member, is_frozen),
            Some(Home::V2(member)) => v2::set_frozen(member, is_frozen),
            // Nothing was ever frozen, so it goes on.
            None if !is_frozen => Ok(()),
            None => Err(Error::Missing {
                feature: "freezer",
                reason: "there is no cgroup to freeze".to_string(),
                fix: "Run as root with cgroups mounted.",
            }),
        }
    }

    pub fn is_frozen(&self) -> bool {
        match self.freezer() {
            Some(Home::V1(member)) => v1::is_frozen(member),
            Some(Home::V2(member)) => v2::is_frozen(member),
            None => false,
        }
    }

    /// A v1 freezer holds back even SIGKILL.
    pub fn thaw_for_kill(&self) {
        if let Some(Home::V1(member)) = self.freezer() {
            let _ = v1::set_frozen(member, false);
        }
    }

    pub fn oom_kills(&self) -> u64 {
        match self.home(Controller::Memory) {
            Some(Home::V1(member)) => v1::oom_kills(member),
            Some(Home::V2(member)) => v2::oom_kills(member),
            None => 0,
        }
    }

    /// What the sandbox used so far. With `reset_peak` the peak counts from now on.
    pub fn counters(&self, reset_peak: bool) -> Counters {
        let (memory_bytes, memory_peak_bytes) = match self.home(Controller::Memory) {
            Some(Home::V1(member)) => v1::memory(member, reset_peak),
            Some(Home::V2(member)) => v2::memory(member, &self.peak, reset_peak),
            None => (0, 0),
        };
        let cpu_ms = match (&self.v2, self.home(Controller::Cpuacct)) {
            (Some((_, member)), _) => v2::cpu_ms(member),
            (None, Some(Home::V1(member))) => v1::cpu_ms(member),
            (None, _) => 0,
        };
        let pids = match self.home(Controller::Pids) {
            Some(Home::V1(member) | Home::V2(member)) => member.number("pids.current"),
            None => 0,
        };
        Counters { memory_bytes, memory_peak_bytes, cpu_ms, pids, oom_kills: self.oom_kills() }
    }

    /// Removes the folders; false while the kernel still holds one.
    pub fn remove(&mut self) -> bool {
        let members = self.v1.iter().map(|(_, member)| member).chain(self.v2.as_ref().map(|(_, member)| member));
        // Each is tried, whatever became of the ones before.
        let left = members.filter(|member| !member.remove(&self.instance)).count();
        self.is_removed = left == 0;
        self.is_removed
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_removed {
            self.remove();
        }
    }
}
