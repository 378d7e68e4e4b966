//! Before a snapshot, and after a restore.

use super::host::Phase;
use super::identity::{self, HostTime};
use super::message::Identity;
use super::{hello, hello_frame, Vm, INIT, RUNTIME, SUPERVISOR};
use crate::error::Error;
use crate::wire::{self, Decoder};
use std::time::{Duration, Instant};

/// OpenSSL draws from the kernel anew when the clock has gone back, and only then (or after minutes).
const BACK: Duration = Duration::from_secs(86_400);
/// A runtime needs some ms; under emulation, on a busy machine, a second has been seen.
const RUNTIME_MS_MAX: u64 = 10_000;

/// A RESUME that waits for the runtime.
pub struct Resuming {
    time: HostTime,
    epoch: String,
    pub deadline: Instant,
}

impl Vm {
    /// Nothing is read that would have to be sent: the answer to the PING that follows is the last word. Page caches stay: they
    /// are what makes a clone's first reads fast, and the memory they lie in is in the snapshot either way.
    pub(super) fn prepare_snapshot(&mut self) {
        self.is_silent = true;
        for channel in &mut self.channels {
            channel.fall_silent();
        }
        // SAFETY: takes nothing.
        unsafe { libc::sync() };
    }

    /// Everything that two clones share by birth becomes this one's own. A VM that was taken over has that already: its clock is only set right.
    pub(super) fn begin_resume(&mut self, time: HostTime, identity: Identity) -> Result<(), Error> {
        identity::mix_seed(&identity.seed)?;
        identity::set_hostname(&identity.hostname)?;
        self.forget_past_life();
        if self.runtime.is_none() {
            time.set(Duration::ZERO)?;
            self.tell_resumed(&identity.epoch);
            return Ok(());
        }
        time.set(if identity.is_taken_over { Duration::ZERO } else { BACK })?;
        let message = serde_json::json!({
            "nowMs": time.epoch_ms, "seed": identity::draw_seed()?, "epoch": identity.epoch,
            "isTakenOver": identity.is_taken_over,
        });
        self.relay.resume(&message.to_string());
        let deadline = Instant::now() + Duration::from_millis(RUNTIME_MS_MAX);
        self.resuming = Some(Resuming { time, epoch: identity.epoch, deadline });
        Ok(())
    }

    /// The runtime has answered, or has not in time.
    pub(super) fn finish_resume(&mut self, is_answered: bool) {
        let Some(Resuming { time, epoch, .. }) = self.resuming.take() else { return };
        let set = time.set(Duration::ZERO);
        if !is_answered {
            self.relay.stop_waiting();
            let action = "hear from the runtime that it resumed".to_string();
            return self.fail(Phase::Resume, &Error::Timeout { step: "init.resume", action, ms: RUNTIME_MS_MAX });
        }
        match set {
            Ok(()) => self.tell_resumed(&epoch),
            Err(error) => self.fail(Phase::Resume, &error),
        }
    }

    fn tell_resumed(&mut self, epoch: &str) {
        self.is_silent = false;
        self.channels[INIT].greet_later(&hello_frame(&hello("init", epoch)));
        self.answer(wire::RESUMED, 0, serde_json::json!({ "epoch": epoch }).to_string().as_bytes());
        if self.runtime.is_some() {
            self.channels[SUPERVISOR].greet(&hello_frame(&hello("supervisor", epoch)));
        }
    }

    /// Half frames, open streams and unsent words of the hosts before.
    fn forget_past_life(&mut self) {
        self.decoders[SUPERVISOR] = Decoder::default();
        self.proxy.close_all();
        if let Some(runtime) = &mut self.runtime {
            runtime.outputs.forget_pings();
        }
        for index in [SUPERVISOR, RUNTIME] {
            self.channels[index].fall_silent();
            self.channels[index].outbox.clear();
            self.channels[index].is_deaf = false;
        }
    }
}
