//! PID 1 of a microVM: init and supervisor in one loop around poll(2).
//!
//! 1. Mounts, settings (settings.rs).           5. CONFIGURE: clock, randomness, host name, the runtime (identity.rs, runtime.rs).
//! 2. Loopback, the platform API's listener.    6. BIND: code, /tmp, limits, eth0 (network.rs).
//! 3. The hierarchy of the runtime's cgroup.    7. PREPARE_SNAPSHOT and RESUME (snapshot.rs).
//! 4. The three channels (doors.rs), HELLO.     8. The runtime's end, or SHUTDOWN: all that was said leaves, then power off (ending.rs).
//!
//! The channel's messages are in docs/reference/guest-protocol.md; twin: src/wire/init-link.ts. What fails before step 4 is printed
//! on the console and powers off; what fails later is FAIL on stream 0 of the init channel and names its step.

mod channel;
mod doors;
mod early;
mod ending;
mod host;
mod identity;
mod initramfs;
mod line;
mod message;
mod mounts;
mod network;
mod outbox;
mod power;
mod relay;
mod runtime;
mod settings;
mod snapshot;

pub use initramfs::run as run_initramfs;

use crate::cgroup::{Cgroups, Group};
use crate::error::{Context, Error};
use crate::outputs::Outputs;
use crate::proxy::{self, Proxy, CONNECTIONS_MAX};
use crate::sys::{self, Ended};
use crate::wire::{self, Decoder};
use channel::Channel;
use ending::Ending;
use line::Event;
use network::Network;
use relay::{News, Relay};
use runtime::Runtime;
use snapshot::Resuming;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

const INIT: usize = 0;
const SUPERVISOR: usize = 1;
const RUNTIME: usize = 2;
const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const BUFFER_BYTES: usize = 65_536;
/// A runtime that closed its channel has this long to end by itself.
const CLOSED_MS_MAX: u64 = 1_000;

struct Vm {
    channels: [Channel; 3],
    /// Of the two channels that init itself reads.
    decoders: [Decoder; 2],
    relay: Relay,
    proxy: Proxy,
    listener: OwnedFd,
    signals: OwnedFd,
    cgroups: Cgroups,
    group: Option<Group>,
    runtime: Option<Runtime>,
    is_runtime_closed: bool,
    has_code: bool,
    network: Option<Network>,
    /// Between PREPARE_SNAPSHOT and RESUME nothing is said.
    is_silent: bool,
    resuming: Option<Resuming>,
    kill_at: Option<Instant>,
    ending: Option<Ending>,
}

/// Runs as PID 1 and ends with the machine.
pub fn run() -> Result<i32, Error> {
    if std::process::id() != 1 {
        return Err(Error::Usage { reason: "init runs as PID 1 of a microVM only.".to_string() });
    }
    let started_us = uptime_us();
    match begin(started_us) {
        Ok(mut vm) => loop {
            vm.turn();
        },
        Err(error) => power::off_after(&error),
    }
}

fn begin(started_us: u64) -> Result<Vm, Error> {
    mounts::mount_table()?;
    settings::apply()?;
    crate::netns::bring_loopback_up().at("init.network", || "bring lo up".to_string())?;
    let listener = proxy::listen().at("init.platform_api", || "listen on 127.0.0.1:9010".to_string())?;
    let signals = sys::signal_fd(&[libc::SIGCHLD]).at("init.signals", || "listen for SIGCHLD".to_string())?;
    let cgroups = Cgroups::whole(CGROUP_ROOT)?;
    let channels = doors::open()?.map(Channel::new);
    let mut vm = Vm {
        channels,
        decoders: [Decoder::default(), Decoder::default()],
        relay: Relay::default(),
        proxy: Proxy::default(),
        listener,
        signals,
        cgroups,
        group: None,
        runtime: None,
        is_runtime_closed: false,
        has_code: false,
        network: None,
        is_silent: false,
        resuming: None,
        kill_at: None,
        ending: None,
    };
    let epoch = mounts::kernel_word("hearth.epoch").unwrap_or_default();
    let mut hello = hello("init", &epoch);
    // Where a boot's time went: the kernel until it started us, and we until here.
    hello["kernelMs"] = (started_us as f64 / 1e3).into();
    hello["initMs"] = ((uptime_us() - started_us) as f64 / 1e3).into();
    vm.channels[INIT].greet(&hello_frame(&hello));
    Ok(vm)
}

fn hello(role: &str, epoch: &str) -> serde_json::Value {
    serde_json::json!({
        "protocol": 1, "role": role, "epoch": epoch, "runtime": "hearth-guest",
        "version": env!("CARGO_PKG_VERSION"), "pid": 1,
    })
}

fn hello_frame(hello: &serde_json::Value) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::encode(&mut frame, wire::HELLO, 0, 0, hello.to_string().as_bytes());
    frame
}

fn uptime_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives over the call, and this clock exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Positions in the list for poll: two entries for each channel come first.
const SIGNALS: usize = 6;
const SOCKET: usize = 7;
const PIPES: usize = 8;
const LISTENER: usize = 10;
const CONNECTIONS: usize = 11;

impl Vm {
    /// Waits for something to happen and does it.
    fn turn(&mut self) {
        let mut polled = self.interests();
        // SAFETY: the list lives over the call and its length is given.
        let count = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, self.timeout_ms()) };
        if count > 0 {
            self.attend_all(&polled);
        }
        self.keep_time();
    }

    fn attend_all(&mut self, polled: &[libc::pollfd]) {
        let mut buffer = [0u8; BUFFER_BYTES];
        for index in [INIT, SUPERVISOR, RUNTIME] {
            self.attend(index, &polled[index * 2..index * 2 + 2], &mut buffer);
        }
        self.attend_runtime(polled[SOCKET].revents, &mut buffer);
        self.attend_outputs(polled);
        // Last, so that what was read above is sent before an end is told.
        if polled[SIGNALS].revents != 0 {
            self.reap();
        }
        for index in [INIT, SUPERVISOR, RUNTIME] {
            if !self.channels[index].send() {
                self.reset(index);
            }
        }
    }

    fn interests(&self) -> Vec<libc::pollfd> {
        let entry = |fd: RawFd, events: i16| libc::pollfd { fd, events, revents: 0 };
        let may_log = !self.is_silent && !self.channels[SUPERVISOR].outbox.is_full();
        let mut polled = Vec::with_capacity(CONNECTIONS + self.proxy.len());
        polled.extend(self.channels[INIT].interests(!self.channels[INIT].outbox.is_full()));
        polled.extend(self.channels[SUPERVISOR].interests(true));
        polled.extend(self.channels[RUNTIME].interests(self.relay.may_read_host()));
        polled.push(entry(self.signals.as_raw_fd(), libc::POLLIN));
        let socket = self.runtime.as_ref().filter(|_| !self.is_runtime_closed);
        let may_read = self.resuming.is_some() || (!self.is_silent && !self.channels[RUNTIME].outbox.is_full());
        let events = if may_read { libc::POLLIN } else { 0 } | if self.relay.has_input() { libc::POLLOUT } else { 0 };
        polled.push(entry(socket.map_or(-1, |runtime| runtime.socket.as_raw_fd()), events));
        polled.extend(self.outputs().map_or([entry(-1, 0); 2], |outputs| outputs.interests(may_log)));
        let may_accept = may_log && self.channels[SUPERVISOR].is_connected() && self.proxy.len() < CONNECTIONS_MAX;
        polled.push(entry(if may_accept { self.listener.as_raw_fd() } else { -1 }, libc::POLLIN));
        self.proxy.interests(may_log, &mut polled);
        polled
    }

    fn outputs(&self) -> Option<&Outputs> {
        self.runtime.as_ref().map(|runtime| &runtime.outputs)
    }

    fn timeout_ms(&self) -> i32 {
        let resuming = self.resuming.as_ref().map(|resuming| resuming.deadline);
        let ending = self.ending.as_ref().map(|ending| ending.deadline);
        match [self.kill_at, resuming, ending].into_iter().flatten().min() {
            Some(at) => at.saturating_duration_since(Instant::now()).as_millis() as i32 + 1,
            None => -1,
        }
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            self.kill();
        }
        if self.resuming.as_ref().is_some_and(|resuming| now >= resuming.deadline) {
            self.finish_resume(false);
        }
        if self.ending.as_ref().is_some_and(|ending| ending.is_over(now)) {
            power::off();
        }
    }

    /// Kills everything of the runtime; its end is told by `reap`.
    fn kill(&mut self) {
        if let Some(group) = &self.group {
            let _ = group.kill();
        }
    }

    fn attend(&mut self, index: usize, polled: &[libc::pollfd], buffer: &mut [u8]) {
        let kept: fn(u8) -> bool = match index {
            INIT => |kind| kind == wire::FAIL,
            SUPERVISOR => |kind| kind == wire::LOG,
            // What a runtime said belongs to streams that the new host does not know.
            _ => |_| false,
        };
        match self.channels[index].attend(polled, buffer, kept) {
            Event::Nothing => {}
            Event::Bytes(count) => self.receive(index, &buffer[..count]),
            Event::Connected | Event::Lost => self.reset(index),
        }
    }

    /// The host of a channel has gone, or another has come.
    fn reset(&mut self, index: usize) {
        match index {
            RUNTIME => self.relay.reset_host(),
            _ => self.decoders[index] = Decoder::default(),
        }
        if index == SUPERVISOR {
            self.proxy.close_all();
            if let Some(runtime) = &mut self.runtime {
                runtime.outputs.forget_pings();
            }
        }
    }

    fn attend_runtime(&mut self, events: i16, buffer: &mut [u8]) {
        let Some(runtime) = &self.runtime else { return };
        let socket = runtime.socket.as_raw_fd();
        if events & libc::POLLOUT != 0 && !self.relay.feed(socket) {
            return self.lose_runtime();
        }
        if events & !libc::POLLOUT == 0 {
            return;
        }
        match self.relay.read_runtime(socket, buffer, &mut self.channels[RUNTIME]) {
            News::Nothing => {}
            News::Resumed => self.finish_resume(true),
            News::Closed => self.lose_runtime(),
        }
    }

    /// Without its channel a runtime is of no use; most often it is about to end.
    fn lose_runtime(&mut self) {
        self.is_runtime_closed = true;
        if self.ending.is_none() && self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + Duration::from_millis(CLOSED_MS_MAX));
        }
    }

    fn attend_outputs(&mut self, polled: &[libc::pollfd]) {
        let out = &mut self.channels[SUPERVISOR].outbox.bytes;
        if let Some(runtime) = &mut self.runtime {
            for index in 0..2 {
                if polled[PIPES + index].revents != 0 {
                    runtime.outputs.read(index, wire::PAYLOAD_BYTES_MAX, out);
                }
            }
            if !self.is_silent {
                runtime.outputs.answer_pings(out);
            }
        }
        self.proxy.turn(&polled[CONNECTIONS..], out);
        // After the old connections: a new one may get the descriptor of one that is gone.
        if polled[LISTENER].revents != 0 {
            self.proxy.accept(self.listener.as_raw_fd(), out);
        }
    }

    fn reap(&mut self) {
        while sys::next_signal(self.signals.as_raw_fd()).is_some() {}
        let mut runtime_ended: Option<Ended> = None;
        while let Ok(Some((pid, ended))) = sys::reap(-1) {
            if self.runtime.as_ref().is_some_and(|runtime| runtime.pid == pid) {
                runtime_ended = Some(ended);
            }
        }
        if let Some(ended) = runtime_ended {
            self.end(ended);
        }
    }
}
