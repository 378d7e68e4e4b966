//! What is done for each verb. A verb that needs time leaves its request with the instance and is answered when that is done.

use super::{token, Launcher, PIDFD, STATUS};
use crate::error::Error;
use crate::instance::{Channels, Instance};
use crate::probe;
use crate::request::{self, BindCode, Spawn, Verb};
use crate::sys;
use serde_json::{json, Value};
use std::os::fd::AsRawFd;

impl Launcher {
    pub(super) fn talk(&mut self, events: u32) {
        if events & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 == 0 {
            return;
        }
        for line in self.control.receive() {
            let (id, verb) = request::parse(&line);
            let answer = verb.and_then(|verb| self.perform(id.unwrap_or(0), verb));
            match answer {
                Ok(Some(body)) => self.control.reply(id, body),
                Ok(None) => {}
                Err(error) => self.control.fail(id, &error),
            }
        }
    }

    /// The body of the reply, or None when it comes later.
    fn perform(&mut self, id: u64, verb: Verb) -> Result<Option<Value>, Error> {
        if let Some(instance) = verb.instance().and_then(|name| self.find_ending(name)) {
            instance.late_requests.push(id);
            return Ok(None);
        }
        match verb {
            Verb::Probe => self.start_probe(id),
            Verb::Spawn(request) => self.spawn(id, &request),
            Verb::Bind(request) => self.bind(id, &request),
            Verb::Freeze { instance } => self.freeze(id, &instance),
            Verb::Thaw { instance } => self.thaw(&instance),
            Verb::Kill { instance } if self.kill_vm(id, &instance) => Ok(None),
            Verb::Kill { instance } => Ok(self.kill(id, &instance)),
            Verb::Stats { instance, reset_peak } => match self.vm_stats(&instance, reset_peak) {
                Some(body) => Ok(Some(body)),
                None => self.stats(&instance, reset_peak).map(Some),
            },
            Verb::List => {
                let entry =
                    |instance: &Instance| json!({ "instance": instance.id, "pid": instance.pid, "kind": "process" });
                let running = self.instances.values().filter(|instance| instance.is_running);
                Ok(Some(json!({ "instances": running.map(entry).chain(self.vms.list()).collect::<Vec<_>>() })))
            }
            Verb::Vm(verb) => self.perform_vm(id, verb),
            Verb::Read { path } => self.readable_files.read(&path).map(|content| Some(json!({ "content": content }))),
            Verb::Publish { path, content } => self.ready_files.publish(&path, &content).map(|()| Some(json!({}))),
        }
    }

    pub(super) fn find(&mut self, id: &str) -> Result<&mut Instance, Error> {
        let serial = self.serials.get(id);
        let instance = serial.and_then(|serial| self.instances.get_mut(serial));
        instance.ok_or_else(|| Error::UnknownInstance { instance: id.to_string() })
    }

    /// An instance whose end was asked for or has come and is not yet told. Frozen again, a v1 freezer would even hold it back.
    fn find_ending(&mut self, name: &str) -> Option<&mut Instance> {
        let serial = self.serials.get(name)?;
        match self.instances.get_mut(serial) {
            Some(instance) => Some(instance).filter(|instance| instance.is_kill_asked),
            None => self.removals.iter_mut().map(|removal| &mut removal.instance).find(|instance| instance.id == name),
        }
    }

    fn spawn(&mut self, id: u64, request: &Spawn) -> Result<Option<Value>, Error> {
        if self.host.is_root && request.uid == self.host.platform_uid {
            return Err(Error::Field { field: "uid".to_string(), rule: "another uid than the platform's".to_string() });
        }
        let channels = Channels::connect(&self.host, request)?;
        let instance = self.make(request, &channels)?;
        instance.spawn_request = Some(id);
        Ok(None)
    }

    fn make(&mut self, request: &Spawn, channels: &Channels) -> Result<&mut Instance, Error> {
        if self.serials.contains_key(&request.instance) {
            return Err(Error::InstanceExists { instance: request.instance.clone() });
        }
        let mut instance = Instance::spawn(&self.host, &self.cgroups, self.pool.as_mut(), request, channels)?;
        self.last_serial += 1;
        let serial = self.last_serial;
        let watched = self
            .epoll
            .add(instance.pidfd.as_raw_fd(), token(PIDFD, serial), libc::EPOLLIN)
            .and_then(|()| self.epoll.add(instance.status.as_raw_fd(), token(STATUS, serial), libc::EPOLLIN));
        if let Err(error) = watched {
            instance.kill();
            let _ = sys::wait(instance.pid);
            return Err(Error::os("sandbox", "watch the sandbox", error));
        }
        self.serials.insert(request.instance.clone(), serial);
        Ok(self.instances.entry(serial).or_insert(instance))
    }

    fn bind(&mut self, id: u64, request: &BindCode) -> Result<Option<Value>, Error> {
        let serial = self.serials.get(&request.instance).copied().unwrap_or(0);
        let index = match request.egress {
            Some(_) => Some(self.egress_indexes.take()?),
            None => None,
        };
        let bound = match self.find(&request.instance).map(|_| ()).and_then(|()| self.bind_files(serial, request)) {
            Ok(()) => self.ask_egress(serial, index, request),
            Err(error) => Err(error),
        };
        match bound {
            Ok(true) => {
                if let Some(instance) = self.instances.get_mut(&serial) {
                    instance.bind_request = Some(id);
                }
                Ok(None)
            }
            Ok(false) => Ok(Some(json!({}))),
            Err(error) => {
                let is_kept = self.instances.get(&serial).is_some_and(|instance| instance.egress_index == index);
                if let (Some(index), false) = (index, is_kept) {
                    self.egress_indexes.give_back(index);
                }
                Err(error)
            }
        }
    }

    fn bind_files(&mut self, serial: u32, request: &BindCode) -> Result<(), Error> {
        match self.instances.get_mut(&serial) {
            Some(instance) => instance.bind(&self.host, request),
            None => Err(Error::UnknownInstance { instance: request.instance.clone() }),
        }
    }

    fn kill(&mut self, id: u64, name: &str) -> Option<Value> {
        let Some(serial) = self.serials.get(name) else {
            return Some(json!({ "code": null, "signal": null, "oom": false }));
        };
        if let Some(instance) = self.instances.get_mut(serial) {
            instance.kill();
        }
        if let Some(instance) = self.find_ending(name) {
            instance.kill_requests.push(id);
        }
        None
    }

    fn stats(&mut self, name: &str, reset_peak: bool) -> Result<Value, Error> {
        let instance = self.find(name)?;
        let counters = instance.group.counters(reset_peak);
        let (tmp_bytes, is_tmp_full) = instance.tmp_use();
        Ok(json!({
            "memoryBytes": counters.memory_bytes,
            "memoryPeakBytes": counters.memory_peak_bytes,
            "cpuMs": counters.cpu_ms,
            "pids": counters.pids,
            "tmpBytes": tmp_bytes,
            "tmpFull": is_tmp_full,
            "oomKills": counters.oom_kills,
        }))
    }

    fn start_probe(&mut self, id: u64) -> Result<Option<Value>, Error> {
        if let Some(probe) = &mut self.probe {
            probe.requests.push(id);
            return Ok(None);
        }
        let (request, channels, report) = probe::request(self.last_serial + 1, &self.host)?;
        self.make(&request, &channels)?.is_probe = true;
        self.probe = Some(probe::Probe { requests: vec![id], report });
        Ok(None)
    }
}
