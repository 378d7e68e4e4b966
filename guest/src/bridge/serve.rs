//! The loop of a bound bridge.

use super::bind::Bind;
use super::dialect::Dialect;
use super::failure::Failure;
use super::host::Host;
use super::identity;
use super::program::{hint_of, Program};
use super::{entry, wire_json};
use crate::sys::{self, Ended};
use crate::wire::{self, Frame};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

pub struct Bridge {
    host: Host,
    bound: Bind,
    dialect: Dialect,
    /// The user's own first, then what stands beside it.
    programs: Vec<Program>,
    signals: OwnedFd,
    started_at: Instant,
    is_ready: bool,
    kill_at: Option<Instant>,
    is_ending: bool,
}

/// Entries of poll that come before those of programs and connections.
const OWN_ENTRIES: usize = 2;

impl Bridge {
    pub fn new(host: Host, bound: Bind, dialect: Dialect, programs: Vec<Program>) -> Result<Bridge, Failure> {
        let signals = sys::signal_fd(&[libc::SIGTERM])
            .map_err(|error| Failure::new("Runtime.StartFailed", &format!("Cannot watch for signals: {error}.")))?;
        Ok(Bridge {
            host,
            bound,
            dialect,
            programs,
            signals,
            started_at: Instant::now(),
            is_ready: false,
            kill_at: None,
            is_ending: false,
        })
    }
}

/// Runs until the program ends, or the host does; gives the exit code.
pub fn serve(mut bridge: Bridge) -> i32 {
    if matches!(bridge.dialect, Dialect::Nothing) {
        bridge.note_ready();
    }
    bridge.host.flush();
    loop {
        if let Some(code) = bridge.turn() {
            bridge.host.flush_whole();
            return code;
        }
    }
}

impl Bridge {
    /// Waits for something to happen and does it; Some when the bridge is to end.
    fn turn(&mut self) -> Option<i32> {
        let mut polled = vec![self.host.interest(), entry(&self.signals, libc::POLLIN)];
        polled.extend(self.programs.iter().map(Program::interest));
        let from = polled.len();
        let wake_at = self.dialect.interests(&self.host, &mut polled);
        wait(&mut polled, [self.kill_at, wake_at].into_iter().flatten().min());
        if self.kill_at.is_some_and(|at| Instant::now() >= at) {
            return Some(0);
        }
        if polled[0].revents != 0 {
            // Without its host there is nothing to serve: the sandbox ends with us.
            let Some(frames) = self.host.receive() else { return Some(0) };
            frames.into_iter().for_each(|frame| self.take(frame));
        }
        self.dialect.turn(&polled[from..], &mut self.host);
        if self.dialect.is_ready() {
            self.note_ready();
        }
        self.dialect.deliver(&mut self.host);
        if self.dialect.has_failed_to_start() {
            return Some(1);
        }
        self.host.flush();
        if polled[1].revents != 0 && sys::next_signal(self.signals.as_raw_fd()).is_some() {
            self.terminate();
        }
        // Last: what a program said before its end was read above.
        if polled[OWN_ENTRIES..from].iter().any(|entry| entry.revents != 0) {
            return self.reap();
        }
        None
    }

    fn note_ready(&mut self) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.host.ready(self.started_at.elapsed());
        }
    }

    fn take(&mut self, frame: Frame) {
        match frame.kind {
            wire::BIND => return self.bind_again(&frame),
            wire::RESUME => return self.resume(&frame),
            wire::SHUTDOWN => {
                let grace_ms = wire_json(&frame.payload)["graceMs"].as_u64().unwrap_or(0).min(86_400_000);
                self.kill_at = Some(Instant::now() + Duration::from_millis(grace_ms));
                return self.terminate();
            }
            wire::INVOKE if identity::is_asked(&frame) => return self.host.note_identity(frame.stream),
            _ => {}
        }
        if frame.stream == 0 {
            return self.host.answer(&frame, false);
        }
        if self.host.answers_identity(&frame) {
            return;
        }
        self.dialect.take(frame, &mut self.host);
    }

    /// First act of a clone, or under another host: what an earlier one had open is over, and told if it still runs.
    fn resume(&mut self, frame: &Frame) {
        let is_starting = !self.is_ready;
        let is_busy = self.dialect.forget_all();
        self.host.answer(frame, is_starting || is_busy);
    }

    /// Bound again in a clone that holds the program running, or by another host. What runs cannot be given another environment.
    fn bind_again(&mut self, frame: &Frame) {
        let refusal = match Bind::parse(&frame.payload) {
            Err(failure) => Some(failure),
            Ok(bound) if bound.function != self.bound.function || bound.version != self.bound.version => {
                let Bind { function, version, .. } = &self.bound;
                let message =
                    format!("This Instance is of {function}:{version}, not of {}:{}.", bound.function, bound.version);
                Some(Failure::new("Runtime.OtherVersion", &message))
            }
            Ok(bound) if !bound.has_env_of(&self.bound) => Some(Failure::new(
                "Runtime.OtherEnvironment",
                "A program in a snapshot keeps its environment, and this Function has other variables or secrets now: \
                 use snapshot \"runtime\".",
            )),
            Ok(_) => None,
        };
        match refusal {
            Some(failure) => self.host.fail_start(&failure),
            None => self.host.ready(Duration::ZERO),
        }
    }

    /// Lets the programs end; the host kills what does not.
    fn terminate(&mut self) {
        self.is_ending = true;
        match &mut self.dialect {
            Dialect::Lambda(lambda) => lambda.shut_down(self.kill_at),
            // SIGTERM says it all.
            Dialect::Server(_) => {}
            Dialect::Nothing => self.kill_at = Some(Instant::now()),
        }
        if let Some(program) = self.programs.first() {
            program.terminate();
        }
    }

    /// As a program ended, so does the bridge: the host tells a crash by it. One that never came up is told by its name.
    fn reap(&mut self) -> Option<i32> {
        let mut last = None;
        let mut index = 0;
        while index < self.programs.len() {
            match self.programs[index].ended() {
                Some(ended) => last = Some((self.programs.remove(index), ended)),
                None => index += 1,
            }
        }
        let (program, ended) = last?;
        if self.is_ending {
            return self.programs.is_empty().then_some(0);
        }
        if !self.is_ready {
            let awaited = self.dialect.awaited();
            let how = match ended {
                Ended::Exited(code) => format!("ended with exit code {code}"),
                Ended::Signalled(signal) => format!("was ended by {}", sys::signal_name(signal)),
            };
            let message = format!("\"{}\" {how} before {awaited}.{}", program.name, hint_of(&program.name));
            self.host.fail_start(&Failure::new("Runtime.ExitError", &message));
        }
        self.host.flush_whole();
        if let Ended::Signalled(signal) = ended {
            sys::reset_signals();
            let _ = sys::set_signal_mask(&[]);
            let _ = sys::kill(std::process::id() as sys::Pid, signal);
        }
        Some(ended.status())
    }
}

/// Sleeps until something happens, or `wake_at`.
fn wait(polled: &mut [libc::pollfd], wake_at: Option<Instant>) {
    let timeout = match wake_at {
        Some(at) => at.saturating_duration_since(Instant::now()).as_millis().min(60_000) as i32 + 1,
        None => -1,
    };
    // SAFETY: the list lives over the call and its length is given.
    let count = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    if count < 0 {
        polled.iter_mut().for_each(|entry| entry.revents = 0);
    }
}
