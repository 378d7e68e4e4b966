//! The end of a VM: the host hears how the runtime ended, reads what was said before, and the machine goes off.

use super::{Vm, INIT, RUNTIME, SUPERVISOR};
use crate::outputs::Outputs;
use crate::sys::{self, Ended};
use crate::wire;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// How long the last words may take to leave.
const FLUSH_MS_MAX: u64 = 1_000;
const FAREWELL: &[u8] = b"farewell";

pub struct Ending {
    pub deadline: Instant,
    /// Channels whose host has not read everything yet.
    open: [bool; 3],
}

impl Ending {
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.deadline || self.open == [false; 3]
    }
}

impl Vm {
    /// The runtime has ended.
    pub(super) fn end(&mut self, ended: Ended) {
        let oom_kills = self.group.as_ref().map_or(0, |group| group.oom_kills());
        let message = exit_message(ended, oom_kills > 0);
        self.answer(wire::FAIL, 0, message.to_string().as_bytes());
        self.resuming = None;
        self.is_silent = false;
        self.drain();
        self.say_farewell();
    }

    /// Reads what is in the socket and in the pipes. Children that the runtime left behind are killed, so that none writes on.
    fn drain(&mut self) {
        self.kill();
        let deadline = Instant::now() + Duration::from_millis(FLUSH_MS_MAX);
        let Some(runtime) = &mut self.runtime else { return };
        let mut buffer = [0u8; super::BUFFER_BYTES];
        let socket = runtime.socket.as_raw_fd();
        // What lies there is bounded by the socket's buffer, and that of a pipe by its own: the writers are dead.
        while Instant::now() < deadline && sys::readable_bytes(socket).is_ok_and(|bytes| bytes > 0) {
            self.relay.read_runtime(socket, &mut buffer, &mut self.channels[RUNTIME]);
        }
        let out = &mut self.channels[SUPERVISOR].outbox.bytes;
        for index in 0..2 {
            read_rest(&mut runtime.outputs, index, out);
        }
        runtime.outputs.answer_pings(out);
        self.runtime = None;
        self.kill_at = None;
    }

    /// Asks each host for an answer: it comes when everything before has been read.
    pub(super) fn say_farewell(&mut self) {
        let open = [INIT, SUPERVISOR, RUNTIME].map(|index| {
            let channel = &mut self.channels[index];
            // Where nothing was said there is nothing to be read.
            let is_asked = channel.is_greeted() && channel.is_connected() && !channel.is_deaf;
            if is_asked {
                channel.outbox.frame(wire::PING, 0, FAREWELL);
            }
            is_asked
        });
        // The runtime's host may be in the middle of a frame that nobody is left to read.
        self.relay.reset_host();
        self.ending = Some(Ending { deadline: Instant::now() + Duration::from_millis(FLUSH_MS_MAX), open });
    }

    pub(super) fn farewell_answered(&mut self, index: usize) {
        if let Some(ending) = &mut self.ending {
            ending.open[index] = false;
        }
    }

    /// Looks for the answer among what the host still sends to the runtime that is no more.
    pub(super) fn hear_farewell(&mut self, index: usize, bytes: &[u8]) {
        let mut wanted = Vec::new();
        wire::encode(&mut wanted, wire::PING, wire::ANSWER, 0, FAREWELL);
        if bytes.windows(wanted.len()).any(|window| window == wanted) {
            self.farewell_answered(index);
        }
    }
}

fn read_rest(outputs: &mut Outputs, index: usize, out: &mut Vec<u8>) {
    let mut left = outputs.waiting(index);
    while left > 0 {
        match outputs.read(index, left, out) {
            0 => return,
            count => left -= count.min(left),
        }
    }
}

fn exit_message(ended: Ended, has_oom_kill: bool) -> serde_json::Value {
    let (code, signal) = match ended {
        Ended::Exited(code) => (Some(code), None),
        Ended::Signalled(signal) => (None, Some(sys::signal_name(signal))),
    };
    let oom = has_oom_kill && ended == Ended::Signalled(libc::SIGKILL);
    let text = match (&signal, oom) {
        (_, true) => "The runtime ran out of memory and was killed.".to_string(),
        (Some(signal), _) => format!("The runtime was ended by {signal}."),
        (None, _) => format!("The runtime ended with status {}.", code.unwrap_or_default()),
    };
    serde_json::json!({
        "errorType": "Runtime.Exit", "errorMessage": text, "stackTrace": [], "phase": "exit",
        "code": code, "signal": signal, "oom": oom,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_message_tells_code_signal_and_oom() {
        let row = |ended, oom| {
            let message = exit_message(ended, oom);
            (message["code"].clone(), message["signal"].clone(), message["oom"].clone())
        };
        assert_eq!(row(Ended::Exited(7), false), (7.into(), serde_json::Value::Null, false.into()));
        assert_eq!(row(Ended::Signalled(9), true), (serde_json::Value::Null, "SIGKILL".into(), true.into()));
        // Something of its was killed earlier, but this end is another.
        assert_eq!(row(Ended::Signalled(11), true), (serde_json::Value::Null, "SIGSEGV".into(), false.into()));
    }

    #[test]
    fn ending_is_over_when_all_have_answered_or_time_is_up() {
        let now = Instant::now();
        let mut ending = Ending { deadline: now + Duration::from_secs(1), open: [true, false, false] };
        assert!(!ending.is_over(now));
        assert!(ending.is_over(now + Duration::from_secs(1)));
        ending.open[0] = false;
        assert!(ending.is_over(now));
    }
}
