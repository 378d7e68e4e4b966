//! PID 1 of a sandbox, after it gave up its rights: reads the runtime's two output pipes and sends them as LOG, carries
//! connections to 127.0.0.1:9010 over to the host, answers PING, reaps orphans, and ends as the runtime ended.
//!
//! One loop around poll(2). What it wants to read follows from what it could not yet send, so a flood of output stops in the
//! pipe, and the writer with it; nothing here grows with what a guest does.

use crate::outputs::Outputs;
use crate::proxy::{Proxy, CONNECTIONS_MAX};
use crate::sandbox::Status;
use crate::sys::{self, Ended, Pid};
use crate::wire::{self, Decoder, Frame};
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

pub struct Descriptors {
    pub status: RawFd,
    pub channel: RawFd,
    pub out: RawFd,
    pub err: RawFd,
    pub signals: RawFd,
    pub listener: RawFd,
}

/// While this much waits for the host, no more is read from pipes and connections.
const UNSENT_BYTES_MAX: usize = 65_536;
/// How long the last output may take to leave when the runtime has ended.
const FLUSH_MS_MAX: u64 = 1_000;

struct Supervisor {
    fds: Descriptors,
    runtime: Pid,
    outputs: Outputs,
    unsent: Vec<u8>,
    is_connected: bool,
    decoder: Decoder,
    proxy: Proxy,
    kill_at: Option<Instant>,
}

/// Runs until the runtime ends, or the launcher does.
pub fn run(fds: Descriptors, runtime: Pid, epoch: &str) -> ! {
    let mut keep = vec![fds.status, fds.channel, fds.out, fds.err, fds.signals, fds.listener];
    keep.retain(|fd| *fd >= 0);
    let ready = sys::close_all_but(&mut keep)
        .and_then(|()| [fds.channel, fds.out, fds.err].into_iter().try_for_each(sys::set_nonblocking));
    if ready.is_err() {
        sys::exit(127);
    }
    let outputs = Outputs::new(fds.out, fds.err);
    let mut supervisor = Supervisor {
        fds,
        runtime,
        outputs,
        unsent: Vec::new(),
        is_connected: true,
        decoder: Decoder::default(),
        proxy: Proxy::default(),
        kill_at: None,
    };
    supervisor.hello(epoch);
    let ended = loop {
        if let Some(ended) = supervisor.turn() {
            break ended;
        }
    };
    supervisor.finish(ended)
}

impl Supervisor {
    fn hello(&mut self, epoch: &str) {
        let hello = serde_json::json!({
            "protocol": 1, "role": "supervisor", "epoch": epoch, "runtime": "hearth-guest",
            "version": env!("CARGO_PKG_VERSION"), "pid": 1,
        });
        self.frame(wire::HELLO, 0, 0, hello.to_string().as_bytes());
        self.send();
    }

    /// Waits for something to happen and does it; Some when the runtime has ended.
    fn turn(&mut self) -> Option<Ended> {
        let mut polled = self.interests();
        let timeout = match self.kill_at {
            Some(at) => at.saturating_duration_since(Instant::now()).as_millis() as i32 + 1,
            None => -1,
        };
        // SAFETY: the list lives over the call and its length is given.
        let count = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
        if self.kill_at.is_some_and(|at| Instant::now() >= at) {
            self.kill_at = None;
            let _ = sys::kill(self.runtime, libc::SIGKILL);
        }
        if count <= 0 {
            return None;
        }
        if polled[0].revents & libc::POLLERR != 0 {
            // Nobody reads the status pipe: the launcher is gone.
            sys::exit(127);
        }
        if polled[2].revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 {
            self.receive();
        }
        for index in 0..2 {
            if polled[3 + index].revents != 0 {
                self.read_pipe(index, wire::PAYLOAD_BYTES_MAX);
            }
        }
        self.outputs.answer_pings(&mut self.unsent);
        self.proxy.turn(&polled[6..], &mut self.unsent);
        // After the old connections: a new one may get the descriptor of one that is gone.
        if polled[5].revents != 0 {
            self.proxy.accept(self.fds.listener, &mut self.unsent);
        }
        self.send();
        // Last, so that output read above left before an end is told.
        if polled[1].revents != 0 {
            return self.reap();
        }
        None
    }

    fn interests(&self) -> Vec<libc::pollfd> {
        let may_read = self.unsent.len() < UNSENT_BYTES_MAX;
        let entry = |fd: RawFd, is_wanted: bool, events: i16| libc::pollfd {
            fd: if is_wanted { fd } else { -1 },
            events,
            revents: 0,
        };
        let write = if self.unsent.is_empty() { 0 } else { libc::POLLOUT };
        let [out, err] = self.outputs.interests(may_read);
        let may_accept = self.is_connected && may_read && self.proxy.len() < CONNECTIONS_MAX;
        let mut polled = vec![
            entry(self.fds.status, true, 0),
            entry(self.fds.signals, true, libc::POLLIN),
            entry(self.fds.channel, self.is_connected, libc::POLLIN | write),
            out,
            err,
            entry(self.fds.listener, may_accept, libc::POLLIN),
        ];
        self.proxy.interests(may_read, &mut polled);
        polled
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if self.is_connected {
            wire::encode(&mut self.unsent, kind, flags, stream, payload);
        }
    }

    fn send(&mut self) {
        while !self.unsent.is_empty() {
            match sys::send(self.fds.channel, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.disconnect(),
            }
        }
    }

    /// The host has closed the channel: output is thrown away from now on, and the launcher decides what becomes of us.
    fn disconnect(&mut self) {
        self.is_connected = false;
        self.unsent.clear();
        self.outputs.forget_pings();
        self.proxy.close_all();
    }

    /// On its own for the sake of its buffer: see `Outputs::read`.
    #[inline(never)]
    fn receive(&mut self) {
        let mut buffer = [0u8; 16_384];
        match sys::read(self.fds.channel, &mut buffer) {
            Ok(0) => self.disconnect(),
            Ok(count) => {
                self.decoder.push(&buffer[..count]);
                loop {
                    match self.decoder.next_frame() {
                        Ok(Some(frame)) => self.handle(frame),
                        Ok(None) => break,
                        // The host is trusted, so this is a bug of ours; without framing the channel is of no use.
                        Err(_) => return self.disconnect(),
                    }
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.disconnect(),
        }
    }

    fn handle(&mut self, frame: Frame) {
        match frame.kind {
            wire::PING if frame.flags == 0 => self.outputs.ping(frame.payload),
            wire::SHUTDOWN => {
                let message: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap_or_default();
                let grace = message["graceMs"].as_u64().unwrap_or(0).min(86_400_000);
                self.kill_at = Some(Instant::now() + Duration::from_millis(grace));
                let _ = sys::kill(self.runtime, libc::SIGTERM);
            }
            _ if frame.stream != 0 => self.proxy.handle(&frame, &mut self.unsent),
            // CONFIGURE and the rest concern runtimes and microVMs.
            _ => {}
        }
    }

    fn read_pipe(&mut self, index: usize, bytes_max: usize) -> usize {
        let count = self.outputs.read(index, bytes_max, &mut self.unsent);
        if !self.is_connected {
            self.unsent.clear();
        }
        count
    }

    fn reap(&mut self) -> Option<Ended> {
        while sys::next_signal(self.fds.signals).is_some() {}
        let mut runtime = None;
        while let Ok(Some((pid, ended))) = sys::reap(-1) {
            if pid == self.runtime {
                runtime = Some(ended);
            }
        }
        runtime
    }

    /// Tells the launcher first, then sends what is in the pipes, and ends the sandbox. Children that the runtime left behind may
    /// hold the pipes open and write on: they are not waited for.
    fn finish(&mut self, ended: Ended) -> ! {
        let _ = sys::write(self.fds.status, &Status::Ended(ended).encode());
        let deadline = Instant::now() + Duration::from_millis(FLUSH_MS_MAX);
        for index in 0..2 {
            let mut left = self.outputs.waiting(index);
            while left > 0 && Instant::now() < deadline {
                if self.unsent.len() >= UNSENT_BYTES_MAX {
                    self.flush(deadline);
                }
                match self.read_pipe(index, left) {
                    0 => break,
                    count => left -= count.min(left),
                }
            }
        }
        self.outputs.answer_pings(&mut self.unsent);
        self.flush(deadline);
        sys::exit(ended.status())
    }

    fn flush(&mut self, deadline: Instant) {
        loop {
            self.send();
            let left = deadline.saturating_duration_since(Instant::now()).as_millis() as i32;
            if self.unsent.is_empty() || left == 0 {
                return;
            }
            let mut poll = libc::pollfd { fd: self.fds.channel, events: libc::POLLOUT, revents: 0 };
            // SAFETY: one entry, which lives over the call.
            unsafe { libc::poll(&mut poll, 1, left) };
        }
    }
}
