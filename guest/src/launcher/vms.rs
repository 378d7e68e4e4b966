//! What the launcher holds of VMs, and the verbs that start them and ask after them. What a running one is asked for later and its end
//! have files of their own: vm_networks.rs, vm_shares.rs, vm_ends.rs, survivors.rs.

use super::vm_ends::Removal;
use super::vm_shares::Share;
use super::{token, Launcher, COPY, VM_PIDFD, VM_STATUS, VM_STDERR};
use crate::egress;
use crate::error::Error;
use crate::netns::Pool;
use crate::request::{VmBase, VmJail, VmSpawn, VmVerb};
use crate::tap;
use crate::vm::{Ground, Program, Reaper, Records, Templates, Vm, VmOptions};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

/// All that the launcher holds of VMs.
pub struct Vms {
    programs: Vec<Program>,
    templates: Templates,
    pub(super) running: HashMap<u32, Vm>,
    pub(super) removals: Vec<Removal>,
    pub(super) shares: Vec<Share>,
    /// Where taps are opened; None: this machine has none.
    tap_folder: Option<OwnedFd>,
    pub(super) addresses: egress::Plan,
    /// None: no VM can be started.
    pub(super) records: Option<Records>,
    /// Left behind when the launcher goes without a word; started with the first VM.
    pub(super) reaper: Option<Reaper>,
    pub(super) id: String,
    pub(super) wait_ms: u64,
    pub(super) adopt_wait_ms: u64,
    /// When VMs that nobody adopted are killed.
    pub(super) sweep_at: Option<Instant>,
}

impl Vms {
    pub fn new(options: VmOptions) -> Vms {
        Vms {
            programs: options.programs,
            templates: Templates::default(),
            running: HashMap::new(),
            removals: Vec::new(),
            shares: Vec::new(),
            tap_folder: tap::open_folder().ok(),
            addresses: egress::Plan::new(&options.id),
            records: options.former.records,
            reaper: None,
            id: options.id,
            wait_ms: options.wait_ms,
            adopt_wait_ms: options.adopt_wait_ms,
            sweep_at: None,
        }
    }

    fn program(&self, field: &'static str, path: &str) -> Result<&Program, Error> {
        let found = self.programs.iter().find(|program| program.path == path);
        found.ok_or_else(|| Error::Path { field, path: path.to_string(), rule: "a --vmm path" })
    }

    pub fn is_polling(&self) -> bool {
        !self.removals.is_empty() || !self.shares.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty() && self.removals.is_empty()
    }

    /// Those that have not come as far as to be worth keeping.
    pub fn kill_starting(&mut self) {
        self.running.values_mut().filter(|vm| !vm.is_running).for_each(Vm::kill);
    }

    pub fn kill_all(&mut self) {
        self.running.values_mut().for_each(Vm::kill);
    }

    pub fn list(&self) -> impl Iterator<Item = Value> + '_ {
        let running = self.running.values().filter(|vm| vm.is_running);
        running.map(|vm| json!({ "instance": vm.id, "pid": vm.pid, "kind": "vm", "uid": vm.record.uid, "isAdopted": vm.is_adopted }))
    }
}

impl Launcher {
    pub(super) fn perform_vm(&mut self, id: u64, verb: VmVerb) -> Result<Option<Value>, Error> {
        match verb {
            VmVerb::Spawn(request) => self.spawn_vm(id, &request),
            VmVerb::Template { name, path } => {
                let pidfd = self.vms.templates.start(&self.host, &name, &path, id)?;
                let watched = self.epoll.add(pidfd, token(COPY, pidfd as u32), libc::EPOLLIN);
                watched.map(|()| None).map_err(|error| Error::os("template", "watch the helper", error))
            }
            VmVerb::Forget { name } => {
                self.vms.templates.forget(&name);
                Ok(Some(json!({})))
            }
            VmVerb::Network(request) => self.connect_vm(id, &request),
            VmVerb::Place { instance, name, path } => {
                let serial = self.serials.get(&instance).copied().unwrap_or(0);
                let vm = self.vms.running.get(&serial).filter(|vm| vm.is_running);
                let vm = vm.ok_or(Error::UnknownInstance { instance })?;
                vm.place(&self.host, &name, &path).map(|()| Some(json!({})))
            }
            VmVerb::Jail(request) => self.jail_vm(id, &request),
            VmVerb::Share { instance, name } => self.share_socket(id, instance, name),
            VmVerb::Adopt { instance } => self.adopt_vm(&instance).map(Some),
            VmVerb::Sweep => Ok(Some(self.sweep_vms())),
        }
    }

    fn spawn_vm(&mut self, id: u64, request: &VmSpawn) -> Result<Option<Value>, Error> {
        self.check_vm(&request.base)?;
        let mut vm = Vm::spawn(self.ground(&request.base)?, request)?;
        vm.spawn_request = Some(id);
        self.hold_vm(vm)
    }

    fn jail_vm(&mut self, id: u64, request: &VmJail) -> Result<Option<Value>, Error> {
        self.check_vm(&request.base)?;
        self.vms.program("jailer", &request.jailer)?.check_trusted()?;
        let mut vm = Vm::jail(self.ground(&request.base)?, request)?;
        vm.spawn_request = Some(id);
        self.hold_vm(vm)
    }

    fn ground(&mut self, base: &VmBase) -> Result<Ground<'_>, Error> {
        Ok(Ground {
            host: &self.host,
            cgroups: &self.cgroups,
            program: self.vms.program("program", &base.program)?,
            templates: &self.vms.templates,
            slot: self.pool.as_mut().filter(|_| base.has_tap).and_then(Pool::take_slot),
            tap_folder: self.vms.tap_folder.as_ref(),
        })
    }

    /// What every start of a VM must meet.
    fn check_vm(&self, base: &VmBase) -> Result<(), Error> {
        if !self.host.is_root {
            let reason = "the launcher is not root".to_string();
            return Err(Error::Missing { feature: "vm", reason, fix: "Run as root." });
        }
        if base.uid == self.host.platform_uid {
            return Err(Error::Field { field: "uid".to_string(), rule: "another uid than the platform's".to_string() });
        }
        if self.serials.contains_key(&base.instance) {
            return Err(Error::InstanceExists { instance: base.instance.clone() });
        }
        Ok(())
    }

    /// Watches a VMM that was made; its end frees it.
    pub(super) fn hold_vm(&mut self, mut vm: Vm) -> Result<Option<Value>, Error> {
        let noted = self.note_vm(&vm);
        self.last_serial += 1;
        let serial = self.last_serial;
        let watched = [(VM_PIDFD, Some(&vm.pidfd)), (VM_STATUS, vm.status.as_ref()), (VM_STDERR, vm.stderr.as_ref())]
            .into_iter()
            .filter_map(|(kind, fd)| Some((kind, fd?.as_raw_fd())))
            .try_for_each(|(kind, fd)| self.epoll.add(fd, token(kind, serial), libc::EPOLLIN));
        self.serials.insert(vm.id.clone(), serial);
        let watched = watched.map_err(|error| Error::os("vm", "watch the VMM", error));
        if let Err(error) = noted.and(watched) {
            vm.kill();
            vm.failure = Some(error);
        }
        self.vms.running.insert(serial, vm);
        Ok(None)
    }

    pub(super) fn take_vm_status(&mut self, serial: u32) {
        let Some(vm) = self.vms.running.get_mut(&serial) else { return };
        if vm.read_status() {
            if let Some(id) = vm.spawn_request.take() {
                let mut body = json!({ "pid": vm.pid });
                if !vm.root_path.is_empty() {
                    body["root"] = json!(vm.root_path);
                }
                self.control.reply(Some(id), body);
            }
        }
    }

    pub(super) fn take_vm_stderr(&mut self, serial: u32) {
        if let Some(vm) = self.vms.running.get_mut(&serial) {
            vm.read_stderr();
        }
    }

    pub(super) fn take_copy(&mut self, pidfd: RawFd) {
        if let Some((request, done)) = self.vms.templates.finish(pidfd) {
            match done {
                Ok(()) => self.control.reply(Some(request), json!({})),
                Err(error) => self.control.fail(Some(request), &error),
            }
        }
    }

    pub(super) fn is_vm(&self, serial: u32) -> bool {
        self.vms.running.contains_key(&serial)
    }

    /// What the VMM itself used; None when `name` is no VM.
    pub(super) fn vm_stats(&self, name: &str, reset_peak: bool) -> Option<Value> {
        let counters = self.vms.running.get(self.serials.get(name)?)?.group.counters(reset_peak);
        Some(json!({
            "memoryBytes": counters.memory_bytes,
            "memoryPeakBytes": counters.memory_peak_bytes,
            "cpuMs": counters.cpu_ms,
            "pids": counters.pids,
            "oomKills": counters.oom_kills,
        }))
    }
}
