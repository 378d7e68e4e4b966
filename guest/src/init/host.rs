//! What the host asks on the channels that init reads itself, and the answers.

use super::identity::{self, HostTime};
use super::message::{self, Bind, Configure, Resume};
use super::{hello, hello_frame, mounts, network, power, runtime, Vm, INIT, RUNTIME, SUPERVISOR};
use crate::error::Error;
use crate::wire::{self, Frame};
use std::time::{Duration, Instant};

/// What could not be done: the phase of FAIL on stream 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Configure,
    Bind,
    Resume,
    /// The host broke the protocol on a channel.
    Channel,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Configure => "configure",
            Phase::Bind => "bind",
            Phase::Resume => "resume",
            Phase::Channel => "channel",
        }
    }
}

impl Vm {
    /// Bytes of the host on a channel.
    pub(super) fn receive(&mut self, index: usize, bytes: &[u8]) {
        if self.channels[index].is_deaf {
            return;
        }
        if index == RUNTIME {
            if self.ending.is_some() {
                return self.hear_farewell(RUNTIME, bytes);
            }
            if let Err(rule) = self.relay.push_host(bytes) {
                self.deafen(index, rule);
            }
            return;
        }
        self.decoders[index].push(bytes);
        loop {
            match self.decoders[index].next_frame() {
                Ok(Some(frame)) if index == INIT => self.handle_init(frame),
                Ok(Some(frame)) => self.handle_supervisor(frame),
                Ok(None) => return,
                Err(rule) => return self.deafen(index, rule),
            }
        }
    }

    /// Without framing the connection is of no use: the host is told, and what it still sends is dropped until it connects anew.
    fn deafen(&mut self, index: usize, rule: wire::WireError) {
        self.channels[index].is_deaf = true;
        let name = super::doors::NAMES[index];
        let error = Error::Line { reason: format!("a frame on the channel {name} broke the rule \"{rule}\"") };
        self.fail(Phase::Channel, &error);
    }

    fn handle_supervisor(&mut self, frame: Frame) {
        match frame.kind {
            wire::PING if frame.flags == wire::ANSWER => self.farewell_answered(SUPERVISOR),
            wire::PING => match &mut self.runtime {
                Some(runtime) => runtime.outputs.ping(frame.payload),
                None => self.channels[SUPERVISOR].outbox.frame(wire::PING, wire::ANSWER, &frame.payload),
            },
            wire::SHUTDOWN => self.shut_down(&frame.payload),
            _ if frame.stream != 0 => self.proxy.handle(&frame, &mut self.channels[SUPERVISOR].outbox.bytes),
            _ => {}
        }
    }

    fn handle_init(&mut self, frame: Frame) {
        match (frame.kind, frame.flags) {
            (wire::PING, wire::ANSWER) => self.farewell_answered(INIT),
            (wire::PING, _) => self.answer(wire::PING, wire::ANSWER, &frame.payload),
            (wire::CONFIGURE, _) => self.configure(&frame.payload),
            (wire::BIND, _) => self.bind(&frame.payload),
            (wire::PREPARE_SNAPSHOT, _) => self.prepare_snapshot(),
            (wire::RESUME, _) => self.resume(&frame.payload),
            (wire::STATS, 0) => self.tell_stats(&frame.payload),
            (wire::SHUTDOWN, _) => self.shut_down(&frame.payload),
            // What a newer host may say.
            _ => {}
        }
    }

    pub(super) fn answer(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        self.channels[INIT].outbox.frame(kind, flags, payload);
    }

    pub(super) fn fail(&mut self, phase: Phase, error: &Error) {
        let message = serde_json::json!({
            "errorType": format!("Guest.{}", error.step()), "errorMessage": error.to_string(), "stackTrace": [],
            "phase": phase.name(), "code": null, "signal": null, "oom": false,
        });
        self.answer(wire::FAIL, 0, message.to_string().as_bytes());
    }

    fn configure(&mut self, payload: &[u8]) {
        let told_at = Instant::now();
        let started = Configure::parse(payload).and_then(|message| self.start(&message, told_at));
        if let Err(error) = started {
            self.fail(Phase::Configure, &error);
            self.say_farewell();
        }
    }

    fn start(&mut self, message: &Configure, told_at: Instant) -> Result<(), Error> {
        if self.group.is_some() {
            return Err(Error::Line { reason: "CONFIGURE came for a second time".to_string() });
        }
        HostTime { epoch_ms: message.now_ms, told_at }.set(Duration::ZERO)?;
        identity::mix_seed(&message.seed)?;
        identity::set_hostname(&message.hostname)?;
        let group = self.group.insert(self.cgroups.make("runtime")?);
        group.limit_memory(message.memory_mib)?;
        group.limit_pids(message.pids_max)?;
        group.die_together()?;
        self.runtime = Some(runtime::start(message, group)?);
        self.channels[SUPERVISOR].greet(&hello_frame(&hello("supervisor", &message.epoch)));
        Ok(())
    }

    fn bind(&mut self, payload: &[u8]) {
        let begun_at = Instant::now();
        match Bind::parse(payload).and_then(|message| self.place(&message)) {
            Ok(()) => {
                let ready = serde_json::json!({ "loadMs": begun_at.elapsed().as_secs_f64() * 1e3 });
                self.answer(wire::READY, 0, ready.to_string().as_bytes());
            }
            Err(error) => self.fail(Phase::Bind, &error),
        }
    }

    fn place(&mut self, message: &Bind) -> Result<(), Error> {
        // A snapshot of a loaded function has its code mounted.
        if message.has_code && !self.has_code {
            mounts::mount_code(message.root_user.as_deref())?;
            self.has_code = true;
        }
        mounts::resize_tmp(message.tmp_mib)?;
        if let Some(group) = &self.group {
            group.limit_memory(message.memory_mib)?;
            group.limit_pids(message.pids_max)?;
        }
        network::change(self.network, message.network)?;
        self.network = message.network;
        Ok(())
    }

    fn resume(&mut self, payload: &[u8]) {
        let told_at = Instant::now();
        match Resume::parse(payload) {
            Ok(Resume { now_ms, identity }) => {
                let time = HostTime { epoch_ms: now_ms, told_at };
                let resumed = match identity {
                    Some(identity) => self.begin_resume(time, identity),
                    None => time.set(Duration::ZERO).map(|()| self.answer(wire::RESUMED, 0, b"{}")),
                };
                if let Err(error) = resumed {
                    self.fail(Phase::Resume, &error);
                }
            }
            Err(error) => self.fail(Phase::Resume, &error),
        }
    }

    fn tell_stats(&mut self, payload: &[u8]) {
        let counters = self.group.as_ref().map(|group| group.counters(message::resets_peak(payload)));
        let counters = counters.unwrap_or_default();
        let (tmp_bytes, is_tmp_full) = mounts::tmp_usage();
        let stats = serde_json::json!({
            "memoryBytes": counters.memory_bytes, "memoryPeakBytes": counters.memory_peak_bytes,
            "cpuMs": counters.cpu_ms, "pids": counters.pids, "oomKills": counters.oom_kills,
            "tmpBytes": tmp_bytes, "tmpFull": is_tmp_full,
        });
        self.answer(wire::STATS, wire::ANSWER, stats.to_string().as_bytes());
    }

    fn shut_down(&mut self, payload: &[u8]) {
        let Some(runtime) = &self.runtime else { power::off() };
        self.kill_at = Some(Instant::now() + Duration::from_millis(message::grace_ms(payload)));
        let _ = crate::sys::kill(runtime.pid, libc::SIGTERM);
    }
}
