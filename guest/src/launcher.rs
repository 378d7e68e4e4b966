//! Serves the verbs of docs/reference/launcher-protocol.md: one thread, one epoll loop. Nothing in it waits: a start is told by
//! the sandbox's status pipe, an end by its pidfd, network work is done by the helper.

use crate::cgroup::Cgroups;
use crate::control::Control;
use crate::egress;
use crate::error::Error;
use crate::host::Host;
use crate::instance::{Channels, Exit, Instance, Phase};
use crate::netns::{Answer, Pool};
use crate::probe;
use crate::publish::ReadyFiles;
use crate::request::{self, BindCode, Spawn, Verb};
use crate::sys::{self, Ended, Epoll, Pid};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const FREEZE_MS_MAX: u64 = 2_000;
/// The kernel frees a cgroup a moment after its last process; past this it is left to the next start.
const REMOVE_MS_MAX: u64 = 2_000;
/// Grace of the platform's process when its socket closed, and of sandboxes at the end.
const END_MS_MAX: u64 = 5_000;
/// When a platform that closed its socket and lives on is told to end.
const REMIND_MS: u64 = 500;

/* Tokens of epoll: the kind in the low byte, an instance's serial above. */
const CONTROL: u64 = 0;
const SIGNALS: u64 = 1;
const NETWORKS: u64 = 2;
const PIDFD: u64 = 3;
const STATUS: u64 = 4;

fn token(kind: u64, serial: u32) -> u64 {
    u64::from(serial) << 8 | kind
}

/// A sandbox whose processes are gone and whose cgroups are not yet.
struct Removal {
    instance: Instance,
    exit: Exit,
    deadline: Instant,
}

pub struct Launcher {
    pub host: Host,
    pub cgroups: Cgroups,
    pub control: Control,
    pub platform: Pid,
    pub signals: OwnedFd,
    pub ready_files: ReadyFiles,
    pool: Option<Pool>,
    epoll: Epoll,
    instances: HashMap<u32, Instance>,
    serials: HashMap<String, u32>,
    last_serial: u32,
    removals: Vec<Removal>,
    egress_indexes: egress::Indexes,
    probe: Option<probe::Probe>,
    platform_exit: Option<Ended>,
}

pub struct Parts {
    pub host: Host,
    pub cgroups: Cgroups,
    pub control: OwnedFd,
    pub platform: Pid,
    pub signals: OwnedFd,
    pub ready_files: ReadyFiles,
    pub id: String,
}

impl Launcher {
    pub fn new(parts: Parts) -> io::Result<Launcher> {
        let epoll = Epoll::new()?;
        let control = Control::new(parts.control)?;
        let pool = if parts.host.has_namespaces { Some(Pool::start(&parts.id)?) } else { None };
        epoll.add(control.fd(), CONTROL, libc::EPOLLIN)?;
        epoll.add(parts.signals.as_raw_fd(), SIGNALS, libc::EPOLLIN)?;
        if let Some(pool) = &pool {
            epoll.add(pool.fd(), NETWORKS, libc::EPOLLIN)?;
        }
        Ok(Launcher {
            host: parts.host,
            cgroups: parts.cgroups,
            control,
            platform: parts.platform,
            signals: parts.signals,
            ready_files: parts.ready_files,
            pool,
            epoll,
            instances: HashMap::new(),
            serials: HashMap::new(),
            last_serial: 0,
            removals: Vec::new(),
            egress_indexes: egress::Indexes::default(),
            probe: None,
            platform_exit: None,
        })
    }

    /// Serves until the platform ends or closes its socket; then ends every sandbox. Returns the exit status to take over.
    pub fn serve(&mut self) -> io::Result<i32> {
        while self.platform_exit.is_none() && !self.control.is_closed {
            self.turn()?;
        }
        self.end_all()?;
        Ok(self.platform_exit.map_or(128 + libc::SIGKILL, Ended::status))
    }

    fn turn(&mut self) -> io::Result<()> {
        let is_polling =
            !self.removals.is_empty() || self.instances.values().any(|instance| instance.freezing.is_some());
        for (token, events) in self.epoll.wait(if is_polling { 1 } else { -1 })? {
            let serial = (token >> 8) as u32;
            match token & 0xff {
                CONTROL => self.talk(events),
                SIGNALS => self.take_signals(),
                NETWORKS => self.take_networks(),
                STATUS => self.take_status(serial),
                _ => self.take_end(serial),
            }
        }
        self.finish_freezes();
        self.finish_removals();
        self.control.send();
        let events = libc::EPOLLIN | if self.control.has_unsent() { libc::EPOLLOUT } else { 0 };
        self.epoll.modify(self.control.fd(), CONTROL, events)?;
        if let Some(pool) = &mut self.pool {
            pool.refill();
        }
        Ok(())
    }

    // ---- verbs

    fn talk(&mut self, events: u32) {
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
        match verb {
            Verb::Probe => self.start_probe(id),
            Verb::Spawn(request) => self.spawn(id, &request),
            Verb::Bind(request) => self.bind(id, &request),
            Verb::Freeze { instance } => self.freeze(id, &instance),
            Verb::Thaw { instance } => {
                let instance = self.find(&instance)?;
                instance.freezing = None;
                instance.group.set_frozen(false).map(|()| Some(json!({})))
            }
            Verb::Kill { instance } => Ok(self.kill(id, &instance)),
            Verb::Stats { instance, reset_peak } => self.stats(&instance, reset_peak).map(Some),
            Verb::List => {
                let entry = |instance: &Instance| json!({ "instance": instance.id, "pid": instance.pid });
                let running = self.instances.values().filter(|instance| instance.phase == Phase::Running);
                Ok(Some(json!({ "instances": running.map(entry).collect::<Vec<_>>() })))
            }
            Verb::Publish { path, content } => self.ready_files.publish(&path, &content).map(|()| Some(json!({}))),
        }
    }

    fn find(&mut self, id: &str) -> Result<&mut Instance, Error> {
        let serial = self.serials.get(id);
        let instance = serial.and_then(|serial| self.instances.get_mut(serial));
        instance
            .filter(|instance| instance.phase != Phase::Ending)
            .ok_or_else(|| Error::UnknownInstance { instance: id.to_string() })
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
        let instance = Instance::spawn(&self.host, &self.cgroups, self.pool.as_mut(), request, channels)?;
        self.last_serial += 1;
        let serial = self.last_serial;
        let watched = self
            .epoll
            .add(instance.pidfd.as_raw_fd(), token(PIDFD, serial), libc::EPOLLIN)
            .and_then(|()| self.epoll.add(instance.status.as_raw_fd(), token(STATUS, serial), libc::EPOLLIN));
        self.serials.insert(request.instance.clone(), serial);
        let instance = self.instances.entry(serial).or_insert(instance);
        if let Err(error) = watched {
            instance.kill();
            return Err(Error::os("sandbox", "watch the sandbox", error));
        }
        Ok(instance)
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

    /// True when the helper was asked, whose answer ends the bind.
    fn ask_egress(&mut self, serial: u32, index: Option<u16>, request: &BindCode) -> Result<bool, Error> {
        let (Some(index), Some(resolver_port)) = (index, request.egress) else { return Ok(false) };
        let (Some(pool), Some(instance)) = (&self.pool, self.instances.get_mut(&serial)) else {
            return Err(egress::missing("there is no helper"));
        };
        // A sandbox of a burst made its network itself.
        let network = match instance.network.take() {
            Some(network) => network,
            None => sys::openat(libc::AT_FDCWD, &format!("/proc/{}/ns/net", instance.pid), libc::O_RDONLY, 0)
                .map_err(|error| Error::os("egress", "open the sandbox's network", error))?,
        };
        let request = egress::Request { serial, index, resolver_port };
        pool.ask_egress(&request, network.as_raw_fd()).map_err(|error| Error::os("egress", "ask the helper", error))?;
        instance.network = Some(network);
        instance.egress_index = Some(index);
        Ok(true)
    }

    fn freeze(&mut self, id: u64, name: &str) -> Result<Option<Value>, Error> {
        let instance = self.find(name)?;
        instance.group.set_frozen(true)?;
        for _ in 0..20 {
            if instance.group.is_frozen() {
                return Ok(Some(json!({})));
            }
            std::thread::yield_now();
        }
        instance.freezing = Some((id, Instant::now() + Duration::from_millis(FREEZE_MS_MAX)));
        Ok(None)
    }

    fn finish_freezes(&mut self) {
        let now = Instant::now();
        for instance in self.instances.values_mut() {
            let Some((id, deadline)) = instance.freezing else { continue };
            if instance.group.is_frozen() {
                self.control.reply(Some(id), json!({}));
            } else if now >= deadline {
                let _ = instance.group.set_frozen(false);
                let action = format!("freeze instance \"{}\"", instance.id);
                self.control.fail(Some(id), &Error::Timeout { step: "freezer", action, ms: FREEZE_MS_MAX });
            } else {
                continue;
            }
            instance.freezing = None;
        }
    }

    fn kill(&mut self, id: u64, name: &str) -> Option<Value> {
        let Some(serial) = self.serials.get(name) else {
            return Some(json!({ "code": null, "signal": null, "oom": false }));
        };
        if let Some(instance) = self.instances.get_mut(serial) {
            instance.kill_requests.push(id);
            instance.kill();
        } else if let Some(removal) = self.removals.iter_mut().find(|removal| removal.instance.id == name) {
            removal.instance.kill_requests.push(id);
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

    // ---- what happens to sandboxes

    fn take_status(&mut self, serial: u32) {
        let Some(instance) = self.instances.get_mut(&serial) else { return };
        let has_started = instance.read_status();
        // A sandbox that failed ends by itself; the pipe's end keeps reporting, so it is watched no more.
        if instance.failure.is_some() {
            self.epoll.remove(instance.status.as_raw_fd());
        }
        if has_started {
            let pid = instance.pid;
            if let Some(id) = instance.spawn_request.take() {
                self.control.reply(Some(id), json!({ "pid": pid }));
            }
        }
    }

    /// PID 1 has ended, and with it everything in the sandbox.
    fn take_end(&mut self, serial: u32) {
        let Some(instance) = self.instances.get_mut(&serial) else { return };
        let Ok(Some((_, reaped))) = sys::reap(instance.pid) else { return };
        let has_started = instance.read_status();
        if has_started {
            if let Some(id) = instance.spawn_request.take() {
                self.control.reply(Some(id), json!({ "pid": instance.pid }));
            }
        }
        let exit = instance.exit(reaped);
        instance.phase = Phase::Ending;
        if let Some(mut instance) = self.instances.remove(&serial) {
            self.epoll.remove(instance.pidfd.as_raw_fd());
            self.epoll.remove(instance.status.as_raw_fd());
            instance.network = None;
            let deadline = Instant::now() + Duration::from_millis(REMOVE_MS_MAX);
            self.removals.push(Removal { instance, exit, deadline });
        }
    }

    fn finish_removals(&mut self) {
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

    /// Frees the rest, then tells: the failed spawn, or the exit, and each kill that waited.
    fn tell_end(&mut self, removal: Removal) {
        let Removal { instance, exit, .. } = removal;
        self.serials.remove(&instance.id);
        if let Some(index) = instance.egress_index {
            self.egress_indexes.give_back(index);
        }
        let (id, failure) = (instance.id.clone(), instance.failure.clone());
        let (spawn, bind, kills, is_probe) =
            (instance.spawn_request, instance.bind_request, instance.kill_requests.clone(), instance.is_probe);
        drop(instance);
        let failure = failure.unwrap_or_else(|| Error::SandboxDied { instance: id.clone() });
        if let Some(request) = bind {
            self.control.fail(Some(request), &Error::UnknownInstance { instance: id.clone() });
        }
        let (code, signal) = match exit.ended {
            Some(Ended::Exited(code)) => (json!(code), Value::Null),
            Some(Ended::Signalled(signal)) => (Value::Null, json!(sys::signal_name(signal))),
            None => (Value::Null, Value::Null),
        };
        let body = json!({ "code": code, "signal": signal, "oom": exit.is_oom });
        if is_probe {
            return self.finish_probe(&failure);
        }
        match spawn {
            Some(request) => self.control.fail(Some(request), &failure),
            None => {
                let event =
                    json!({ "event": "exited", "instance": id, "code": code, "signal": signal, "oom": exit.is_oom });
                self.control.push(&event);
            }
        }
        for request in kills {
            self.control.reply(Some(request), body.clone());
        }
    }

    fn take_networks(&mut self) {
        let Some(mut pool) = self.pool.take() else { return };
        while let Some(answer) = pool.receive() {
            match answer {
                Answer::Network => {}
                Answer::Egress { serial, result, notice } => {
                    if let Some(notice) = notice {
                        self.control.log("warn", &notice);
                    }
                    let request = self.instances.get_mut(&serial).and_then(|instance| instance.bind_request.take());
                    match (request, result) {
                        (Some(_), Ok(())) => self.control.reply(request, json!({})),
                        (Some(_), Err(error)) => self.control.fail(request, &error),
                        (None, _) => {}
                    }
                }
                Answer::Gone => {
                    self.epoll.remove(pool.fd());
                    self.control
                        .log("error", "The network helper ended: each sandbox makes its own network, egress fails.");
                    self.fail_egress();
                    return;
                }
            }
        }
        self.pool = Some(pool);
    }

    fn fail_egress(&mut self) {
        for instance in self.instances.values_mut() {
            if let Some(id) = instance.bind_request.take() {
                self.control.fail(Some(id), &egress::missing("there is no helper"));
            }
        }
    }

    // ---- probe

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

    // ---- signals and the end

    fn take_signals(&mut self) {
        while let Some(info) = sys::next_signal(self.signals.as_raw_fd()) {
            let signal = info.ssi_signo as i32;
            // A terminal's Ctrl-C has gone to the whole foreground group, so the platform has it already.
            const SI_KERNEL: i32 = 0x80;
            if signal != libc::SIGCHLD && info.ssi_code != SI_KERNEL {
                let _ = sys::kill(self.platform, signal);
            }
        }
        if self.platform_exit.is_none() {
            if let Ok(Some((_, ended))) = sys::reap(self.platform) {
                self.platform_exit = Some(ended);
            }
        }
    }

    fn end_all(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let deadline = now + Duration::from_millis(END_MS_MAX);
        // A socket closes a moment before its process has ended.
        let mut remind_at = Some(now + Duration::from_millis(REMIND_MS));
        self.control.is_closed = true;
        self.epoll.remove(self.control.fd());
        self.instances.values_mut().for_each(Instance::kill);
        while Instant::now() < deadline {
            let is_done = self.instances.is_empty() && self.removals.is_empty() && self.platform_exit.is_some();
            if is_done {
                break;
            }
            if self.platform_exit.is_none() && remind_at.is_some_and(|at| Instant::now() >= at) {
                remind_at = None;
                let _ = sys::kill(self.platform, libc::SIGTERM);
            }
            for (token, _) in self.epoll.wait(5)? {
                match token & 0xff {
                    SIGNALS => self.take_signals(),
                    PIDFD => self.take_end((token >> 8) as u32),
                    NETWORKS => self.take_networks(),
                    _ => {}
                }
            }
            self.finish_removals();
        }
        if self.platform_exit.is_none() {
            let _ = sys::kill(self.platform, libc::SIGKILL);
            self.platform_exit = sys::wait(self.platform).ok();
        }
        self.cgroups.close();
        Ok(())
    }
}
