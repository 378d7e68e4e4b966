//! VMs that outlive a launcher: written down as they start, left when the platform ended without asking, taken over, adopted or swept
//! by the next launcher.

use super::Launcher;
use crate::error::Error;
use crate::sys::{self, Ended};
use crate::up;
use crate::vm::{jail_root, remove_leftovers, Reaper, Record, Vm, Ward};
use serde_json::{json, Value};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

impl super::vms::Vms {
    /// How long the loop may wait: until VMs that nobody adopted are swept, or for ever.
    pub fn sweep_timeout_ms(&self) -> i32 {
        let left = |at: Instant| at.saturating_duration_since(Instant::now()).as_millis() as i32 + 1;
        self.sweep_at.map_or(-1, left)
    }
}

impl Launcher {
    /// At the start: holds what a former launcher left.
    pub(super) fn take_over(&mut self, survivors: Vec<(Record, OwnedFd)>) {
        for (record, pidfd) in survivors {
            let (instance, index) = (record.instance.clone(), record.egress_index);
            let spare = pidfd.try_clone();
            let taken = Vm::take_over(&self.cgroups, record, pidfd).and_then(|vm| self.hold_vm(vm));
            if let Some(index) = index {
                self.egress_indexes.reserve(index);
            }
            if let Err(error) = taken {
                // Nobody would watch it. What it leaves is cleared away by the next start, which finds it dead.
                let killed = spare.and_then(|spare| sys::pidfd_kill(spare.as_raw_fd(), libc::SIGKILL));
                let fate = if killed.is_ok() { "was killed" } else { "lives on unwatched" };
                self.control.log("error", &format!("VM \"{instance}\" of a former start {fate}: {error}"));
            }
        }
        if !self.vms.running.is_empty() {
            self.vms.sweep_at = Some(Instant::now() + Duration::from_millis(self.vms.adopt_wait_ms));
        }
    }

    /// Writes a VM down, and makes sure that somebody looks after it when this launcher is gone.
    pub(super) fn note_vm(&mut self, vm: &Vm) -> Result<(), Error> {
        let Some(records) = &self.vms.records else { return Ok(()) };
        records.write(&vm.record)?;
        if self.vms.reaper.is_none() {
            let (state, id, wait_ms) = (self.host.state.as_str(), self.vms.id.as_str(), self.vms.wait_ms);
            let ward = Ward { records, cgroups: &self.cgroups, state, id, wait_ms };
            self.vms.reaper = Some(Reaper::start(ward)?);
        }
        Ok(())
    }

    /// Nothing lives of it any more.
    pub(super) fn clear_vm(&self, vm: &Vm) {
        let Some(records) = &self.vms.records else { return };
        remove_leftovers(&self.host.state, &vm.record);
        records.remove(&vm.id);
        if !vm.is_adopted {
            // Its folder was kept at the start, for nothing.
            let (uid, gid) = (self.host.platform_uid, self.host.platform_gid);
            up::remove_folder(&self.host.state, uid, gid, &vm.id);
        }
    }

    pub(super) fn adopt_vm(&mut self, name: &str) -> Result<Value, Error> {
        let serial = self.serials.get(name).copied().unwrap_or(0);
        let vm = self.vms.running.get_mut(&serial).filter(|vm| vm.is_running && !vm.is_kill_asked);
        let vm = vm.ok_or_else(|| Error::UnknownInstance { instance: name.to_string() })?;
        vm.is_adopted = true;
        let root = vm.record.jail.as_ref().map(|jail| jail_root(&self.host.state, jail));
        Ok(json!({ "pid": vm.pid, "uid": vm.record.uid, "root": root }))
    }

    pub(super) fn sweep_vms(&mut self) -> Value {
        self.vms.sweep_at = None;
        let swept = self.vms.running.values_mut().filter(|vm| !vm.is_adopted);
        let names: Vec<String> = swept.map(|vm| (vm.kill(), vm.id.clone()).1).collect();
        json!({ "instances": names })
    }

    pub(super) fn sweep_in_time(&mut self) {
        if self.vms.sweep_at.is_some_and(|at| Instant::now() >= at) {
            let names = self.sweep_vms();
            if names["instances"].as_array().is_some_and(|names| !names.is_empty()) {
                self.control.log("warn", &format!("VMs of a former start were not adopted: {}", names["instances"]));
            }
        }
    }

    /// True when the platform ended without asking: killed or crashed, and nobody told it to end.
    pub(super) fn are_vms_kept(&self) -> bool {
        let is_crash = self.platform_exit.is_some_and(|ended| ended != Ended::Exited(0));
        is_crash && !self.is_end_asked && self.vms.records.is_some() && !self.vms.running.is_empty()
    }

    /// The reaper stays with them; rules of the firewall stay, too.
    pub(super) fn leave_vms(&mut self) {
        let kept: Vec<String> = self.vms.running.values().map(|vm| vm.id.clone()).collect();
        self.cgroups.close(&kept);
        self.vms.running.drain().for_each(|(_, vm)| vm.leave());
    }

    pub(super) fn end_vms(&mut self) {
        if let (Some(reaper), Some(records)) = (self.vms.reaper.take(), &self.vms.records) {
            reaper.dismiss(records);
        }
        if let Some(records) = &self.vms.records {
            records.close();
        }
        self.cgroups.close(&[]);
        if let Some(pool) = &self.pool {
            pool.end();
        }
    }
}
