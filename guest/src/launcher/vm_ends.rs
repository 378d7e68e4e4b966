//! How VMs end: killed or by themselves, told when nothing of them is left.

use super::ends::{describe_end, REMOVE_MS_MAX};
use super::Launcher;
use crate::error::Error;
use crate::instance::Exit;
use crate::vm::Vm;
use serde_json::json;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A VMM whose process is gone and whose cgroups are not yet.
pub struct Removal {
    vm: Vm,
    exit: Exit,
    deadline: Instant,
}

impl Launcher {
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
            self.release_index(index);
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
}
