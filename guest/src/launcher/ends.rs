//! Starts and ends of sandboxes, as their status pipes and pidfds tell them.

use super::Launcher;
use crate::error::Error;
use crate::instance::{Exit, Instance};
use crate::probe;
use crate::sys::{self, Ended};
use serde_json::{json, Value};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The kernel frees a cgroup a moment after its last process; past this it is left to the next start.
pub(super) const REMOVE_MS_MAX: u64 = 2_000;

/// A sandbox whose processes are gone and whose cgroups are not yet.
pub(super) struct Removal {
    pub(super) instance: Instance,
    exit: Exit,
    deadline: Instant,
}

impl Launcher {
    pub(super) fn take_status(&mut self, serial: u32) {
        let Some(instance) = self.instances.get_mut(&serial) else { return };
        let has_started = instance.read_status();
        // A sandbox that failed ends by itself; the pipe's end keeps reporting, so it is watched no more.
        if instance.failure.is_some() {
            self.epoll.remove(instance.status.as_raw_fd());
        }
        if has_started {
            self.tell_start(serial);
        }
    }

    fn tell_start(&mut self, serial: u32) {
        let Some(instance) = self.instances.get_mut(&serial) else { return };
        if let Some(id) = instance.spawn_request.take() {
            let body = json!({ "pid": instance.pid, "networkMs": f64::from(instance.network_us) / 1e3 });
            self.control.reply(Some(id), body);
        }
    }

    /// PID 1 has ended, and with it everything in the sandbox.
    pub(super) fn take_end(&mut self, serial: u32) {
        let Some(instance) = self.instances.get_mut(&serial) else { return };
        let Ok(Some((_, reaped))) = sys::reap(instance.pid) else { return };
        let has_started = instance.read_status();
        let exit = instance.exit(reaped);
        if has_started {
            self.tell_start(serial);
        }
        if let Some(mut instance) = self.instances.remove(&serial) {
            self.epoll.remove(instance.pidfd.as_raw_fd());
            self.epoll.remove(instance.status.as_raw_fd());
            instance.network = None;
            let deadline = Instant::now() + Duration::from_millis(REMOVE_MS_MAX);
            self.removals.push(Removal { instance, exit, deadline });
        }
    }

    pub(super) fn finish_removals(&mut self) {
        let now = Instant::now();
        let mut waiting = Vec::new();
        for mut removal in std::mem::take(&mut self.removals) {
            if removal.instance.group.remove() {
                self.tell_end(removal);
            } else if now >= removal.deadline {
                self.control
                    .log("warn", &format!("The cgroups of instance \"{}\" could not be removed.", removal.instance.id));
                self.tell_end(removal);
            } else {
                waiting.push(removal);
            }
        }
        self.removals = waiting;
    }

    /// Frees the rest, then tells: the failed spawn, or the exit; then every request that waited.
    fn tell_end(&mut self, removal: Removal) {
        let Removal { mut instance, exit, .. } = removal;
        self.serials.remove(&instance.id);
        if let Some(index) = instance.egress_index {
            self.release_index(index);
        }
        let (id, spawn, is_probe) = (instance.id.clone(), instance.spawn_request, instance.is_probe);
        let failure = instance.failure.take().unwrap_or_else(|| Error::SandboxDied { instance: id.clone() });
        let kills = std::mem::take(&mut instance.kill_requests);
        let mut others = std::mem::take(&mut instance.late_requests);
        others.extend(instance.bind_request);
        others.extend(instance.take_freezes());
        drop(instance);

        let end = describe_end(exit);
        match spawn {
            _ if is_probe => self.finish_probe(&failure),
            Some(request) => self.control.fail(Some(request), &failure),
            None => {
                let mut event = end.clone();
                event["event"] = json!("exited");
                event["instance"] = json!(id);
                self.control.push(&event);
            }
        }
        kills.into_iter().for_each(|request| self.control.reply(Some(request), end.clone()));
        let gone = Error::UnknownInstance { instance: id };
        others.into_iter().for_each(|request| self.control.fail(Some(request), &gone));
    }

    /// Its sandbox has ended; without findings it had not started, for `failure`.
    fn finish_probe(&mut self, failure: &Error) {
        let Some(probe) = self.probe.take() else { return };
        let body = probe.read().map(|findings| probe::describe(&self.host, &self.cgroups, &findings));
        for id in probe.requests {
            match &body {
                Some(body) => self.control.reply(Some(id), body.clone()),
                None => self.control.fail(Some(id), failure),
            }
        }
    }
}

/// `{code, signal, oom}`
pub(super) fn describe_end(exit: Exit) -> Value {
    let (code, signal) = match exit.ended {
        Some(Ended::Exited(code)) => (json!(code), Value::Null),
        Some(Ended::Signalled(signal)) => (Value::Null, json!(sys::signal_name(signal))),
        None => (Value::Null, Value::Null),
    };
    json!({ "code": code, "signal": signal, "oom": exit.is_oom })
}
