//! `vm_network`: a VM's way out, which the network helper makes.

use super::Launcher;
use crate::egress;
use crate::error::Error;
use crate::request::VmNetwork;
use serde_json::{json, Value};
use std::os::fd::AsRawFd;

impl Launcher {
    pub(super) fn connect_vm(&mut self, id: u64, request: &VmNetwork) -> Result<Option<Value>, Error> {
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
                    self.release_index(index);
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
}
