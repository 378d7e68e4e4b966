//! What is done for the verbs of VMs, and at the starts and ends of VMMs.

use super::ends::{describe_end, REMOVE_MS_MAX};
use super::{token, Launcher, COPY, VM_PIDFD, VM_STATUS, VM_STDERR};
use crate::egress;
use crate::error::Error;
use crate::instance::Exit;
use crate::netns::Pool;
use crate::request::{VmJail, VmNetwork, VmSpawn, VmVerb};
use crate::tap;
use crate::vm::{Ground, Program, Reaper, Records, Templates, Vm, VmOptions};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// All that the launcher holds of VMs.
pub struct Vms {
    programs: Vec<Program>,
    templates: Templates,
    pub(super) running: HashMap<u32, Vm>,
    removals: Vec<Removal>,
    shares: Vec<Share>,
    /// Where taps are opened; None: this machine has none.
    tap_folder: Option<OwnedFd>,
    addresses: egress::Plan,
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

/// A VMM makes its sockets in the first milliseconds of its life.
const SHARE_MS_MAX: u64 = 5_000;

/// A socket in a jail that the platform waits for.
struct Share {
    id: u64,
    serial: u32,
    instance: String,
    name: String,
    deadline: Instant,
}

/// A VMM whose process is gone and whose cgroups are not yet.
struct Removal {
    vm: Vm,
    exit: Exit,
    deadline: Instant,
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
        running.map(|vm| json!({ "instance": vm.id, "pid": vm.pid, "kind": "vm", "isAdopted": vm.is_adopted }))
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
        self.check_vm(&request.instance, request.uid)?;
        let program = self.vms.programs.iter().find(|program| program.path == request.program);
        let unknown = || Error::Path { field: "program", path: request.program.clone(), rule: "a --vmm path" };
        let ground = Ground {
            host: &self.host,
            cgroups: &self.cgroups,
            program: program.ok_or_else(unknown)?,
            templates: &self.vms.templates,
            slot: self.pool.as_mut().filter(|_| request.has_tap).and_then(Pool::take_slot),
            tap_folder: self.vms.tap_folder.as_ref(),
        };
        let mut vm = Vm::spawn(ground, request)?;
        vm.spawn_request = Some(id);
        self.hold_vm(vm)
    }

    fn jail_vm(&mut self, id: u64, request: &VmJail) -> Result<Option<Value>, Error> {
        self.check_vm(&request.instance, request.uid)?;
        let find = |field: &'static str, path: &str| {
            let found = self.vms.programs.iter().find(|program| program.path == path);
            found.ok_or_else(|| Error::Path { field, path: path.to_string(), rule: "a --vmm path" })
        };
        let jailer = find("jailer", &request.jailer)?;
        jailer.check_trusted()?;
        let ground = Ground {
            host: &self.host,
            cgroups: &self.cgroups,
            program: find("program", &request.program)?,
            templates: &self.vms.templates,
            slot: self.pool.as_mut().filter(|_| request.has_tap).and_then(Pool::take_slot),
            tap_folder: self.vms.tap_folder.as_ref(),
        };
        let mut vm = Vm::jail(ground, request)?;
        vm.spawn_request = Some(id);
        self.hold_vm(vm)
    }

    /// Answered when the VMM has made the socket.
    fn share_socket(&mut self, id: u64, instance: String, name: String) -> Result<Option<Value>, Error> {
        let serial = self.serials.get(&instance).copied().unwrap_or(0);
        if !self.vms.running.contains_key(&serial) {
            return Err(Error::UnknownInstance { instance });
        }
        let deadline = Instant::now() + Duration::from_millis(SHARE_MS_MAX);
        self.vms.shares.push(Share { id, serial, instance, name, deadline });
        Ok(None)
    }

    pub(super) fn finish_shares(&mut self) {
        let now = Instant::now();
        for share in std::mem::take(&mut self.vms.shares) {
            let Share { id, serial, instance, name, deadline } = &share;
            let shared = match self.vms.running.get(serial) {
                Some(vm) => vm.share(&self.host, name),
                None => Err(Error::UnknownInstance { instance: instance.clone() }),
            };
            match shared {
                Ok(true) => self.control.reply(Some(*id), json!({})),
                Ok(false) if now < *deadline => self.vms.shares.push(share),
                Ok(false) => {
                    let action = format!("share \"{name}\" of VM \"{instance}\"");
                    self.control.fail(Some(*id), &Error::Timeout { step: "share", action, ms: SHARE_MS_MAX });
                }
                Err(error) => self.control.fail(Some(*id), &error),
            }
        }
    }

    /// What every start of a VM must meet.
    fn check_vm(&self, instance: &str, uid: u32) -> Result<(), Error> {
        if !self.host.is_root {
            let reason = "the launcher is not root".to_string();
            return Err(Error::Missing { feature: "vm", reason, fix: "Run as root." });
        }
        if uid == self.host.platform_uid {
            return Err(Error::Field { field: "uid".to_string(), rule: "another uid than the platform's".to_string() });
        }
        if self.serials.contains_key(instance) {
            return Err(Error::InstanceExists { instance: instance.to_string() });
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

    fn connect_vm(&mut self, id: u64, request: &VmNetwork) -> Result<Option<Value>, Error> {
        let serial = self.serials.get(&request.instance).copied().unwrap_or(0);
        let vm = self.vms.running.get_mut(&serial).filter(|vm| vm.is_running);
        let vm = vm.ok_or_else(|| Error::UnknownInstance { instance: request.instance.clone() })?;
        let Some(resolver_port) = request.egress else {
            return match vm.egress_index {
                None => Ok(Some(json!({ "address": null, "gateway": null, "nameServer": null }))),
                Some(_) => Err(Error::AlreadyBound { instance: request.instance.clone() }),
            };
        };
        if vm.network_request.is_some() {
            return Err(Error::AlreadyBound { instance: request.instance.clone() });
        }
        let Some(pool) = &self.pool else { return Err(egress::missing("there is no helper")) };
        let network = vm.network()?;
        let is_new = !vm.is_connected;
        let index = match vm.egress_index {
            Some(index) => index,
            None => self.egress_indexes.take()?,
        };
        let bytes_per_second = request.bytes_per_second;
        let asked = egress::VmRequest { serial, index, resolver_port, bytes_per_second, is_new };
        if let Err(error) = pool.ask_vm_egress(&asked, network.as_raw_fd()) {
            if is_new {
                self.egress_indexes.give_back(index);
            }
            return Err(Error::os("egress", "ask the helper", error));
        }
        // Kept with the VM from now on, whatever the answer: an address must not be given out while anything may have it.
        vm.egress_index = Some(index);
        vm.network_request = Some(id);
        vm.has_resolver = resolver_port != 0;
        Ok(None)
    }

    /// The helper has answered for a VM.
    pub(super) fn take_vm_network(&mut self, serial: u32, result: Result<(), Error>) {
        let Some(vm) = self.vms.running.get_mut(&serial) else { return };
        let Some(request) = vm.network_request.take() else { return };
        match (result, vm.egress_index) {
            (Ok(()), Some(index)) => {
                vm.is_connected = true;
                vm.record.egress_index = Some(index);
                if let Some(Err(error)) = self.vms.records.as_ref().map(|records| records.write(&vm.record)) {
                    self.control.log("error", &error.to_string());
                }
                let (address, gateway) = (self.vms.addresses.address(index), self.vms.addresses.gateway());
                let (address, gateway) = (address.to_string(), gateway.to_string());
                // The rules lead every name service to the resolver; the gateway's address is as good as any.
                let name_server = vm.has_resolver.then(|| gateway.clone());
                let body = json!({ "address": address, "gateway": gateway, "nameServer": name_server });
                self.control.reply(Some(request), body);
            }
            (Err(error), index) => {
                if let (Some(index), false) = (index, vm.is_connected) {
                    vm.egress_index = None;
                    self.egress_indexes.give_back(index);
                }
                self.control.fail(Some(request), &error);
            }
            (Ok(()), None) => self.control.fail(Some(request), &egress::missing("the address is gone")),
        }
    }

    pub(super) fn fail_vm_networks(&mut self) {
        for vm in self.vms.running.values_mut() {
            if let Some(id) = vm.network_request.take() {
                self.control.fail(Some(id), &egress::missing("there is no helper"));
            }
        }
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

    /// The VMM has ended, and with it everything in its namespaces.
    pub(super) fn take_vm_end(&mut self, serial: u32) {
        let Some(vm) = self.vms.running.get_mut(&serial) else { return };
        let Some(ended) = vm.reap() else { return };
        self.take_vm_status(serial);
        let Some(mut vm) = self.vms.running.remove(&serial) else { return };
        vm.read_stderr();
        self.epoll.remove(vm.pidfd.as_raw_fd());
        vm.is_running = false;
        let exit = vm.exit(ended);
        let deadline = Instant::now() + Duration::from_millis(REMOVE_MS_MAX);
        self.vms.removals.push(Removal { vm, exit, deadline });
    }

    pub(super) fn finish_vm_removals(&mut self) {
        let now = Instant::now();
        for mut removal in std::mem::take(&mut self.vms.removals) {
            let is_removed = removal.vm.group.remove();
            if !is_removed && now < removal.deadline {
                self.vms.removals.push(removal);
                continue;
            }
            if !is_removed {
                self.control.log("warn", &format!("The cgroups of VM \"{}\" could not be removed.", removal.vm.id));
            }
            self.tell_vm_end(removal);
        }
    }

    /// Frees the rest, then tells: the failed spawn, or the exit, and each kill that waited.
    fn tell_vm_end(&mut self, removal: Removal) {
        let Removal { mut vm, exit, .. } = removal;
        self.serials.remove(&vm.id);
        if let Some(index) = vm.egress_index {
            self.egress_indexes.give_back(index);
        }
        if let Some(request) = vm.network_request.take() {
            self.control.fail(Some(request), &Error::UnknownInstance { instance: vm.id.clone() });
        }
        let (id, spawn, kills) = (vm.id.clone(), vm.spawn_request.take(), std::mem::take(&mut vm.kill_requests));
        let failure = vm.failure.take().unwrap_or_else(|| Error::SandboxDied { instance: id.clone() });
        self.clear_vm(&vm);
        let mut body = describe_end(exit);
        body["stderr"] = json!(vm.last_words());
        drop(vm);
        match spawn {
            Some(request) => self.control.fail(Some(request), &failure),
            None => {
                let mut event = body.clone();
                event["event"] = json!("exited");
                event["instance"] = json!(id);
                self.control.push(&event);
            }
        }
        for request in kills {
            self.control.reply(Some(request), body.clone());
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

    /// True when `name` is a VM, which then has heard of the request.
    pub(super) fn kill_vm(&mut self, id: u64, name: &str) -> bool {
        let serial = self.serials.get(name).copied().unwrap_or(0);
        if let Some(vm) = self.vms.running.get_mut(&serial) {
            vm.kill_requests.push(id);
            vm.kill();
            return true;
        }
        match self.vms.removals.iter_mut().find(|removal| removal.vm.id == name) {
            Some(removal) => removal.vm.kill_requests.push(id),
            None => return false,
        }
        true
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
