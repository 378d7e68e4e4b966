//! Events on their way to the program: while they come, and until somebody asks for them.

use crate::bridge::failure::Failure;
use crate::bridge::host::Host;
use crate::bridge::identity;
use crate::wire::{self, Frame};
use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

pub struct Event {
    pub stream: u32,
    pub id: String,
    pub deadline_ms: u64,
    pub body: Vec<u8>,
    /// In X-Ray's form: the caller's, or one of its own.
    pub trace: String,
}

#[derive(Default)]
pub struct Inbox {
    /// Whose body is not whole yet, by stream.
    coming: BTreeMap<u32, Event>,
    whole: VecDeque<Event>,
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.coming.is_empty()
    }

    /// The one that has waited longest; None when none is whole.
    pub fn take_first(&mut self) -> Option<Event> {
        self.whole.pop_front()
    }

    /// INVOKE: its body is to come.
    pub fn open(&mut self, frame: &Frame, host: &mut Host) {
        let message = crate::bridge::wire_json(&frame.payload);
        host.open(frame.stream);
        let event = Event {
            stream: frame.stream,
            id: message["id"].as_str().unwrap_or_default().to_string(),
            deadline_ms: message["deadlineMs"].as_f64().unwrap_or(0.0) as u64,
            trace: message["traceparent"].as_str().and_then(xray_trace).unwrap_or_else(fresh_trace),
            body: Vec::new(),
        };
        self.coming.insert(frame.stream, event);
    }

    /// DATA or END of a body.
    pub fn push(&mut self, frame: &Frame, host: &mut Host) {
        let Some(event) = self.coming.get_mut(&frame.stream) else { return };
        event.body.extend_from_slice(&frame.payload);
        if event.body.len() > EVENT_BYTES_MAX {
            self.coming.remove(&frame.stream);
            let message = format!("The event is larger than {EVENT_BYTES_MAX} bytes.");
            return host.fail(frame.stream, Failure::new("RequestEntityTooLarge", &message));
        }
        if frame.kind == wire::END || frame.flags & wire::FIN != 0 {
            self.whole.extend(self.coming.remove(&frame.stream));
        } else {
            host.give_credit(frame.stream, frame.payload.len());
        }
    }

    /// False when it is not here: the program has it, or nobody knows it.
    pub fn remove(&mut self, stream: u32) -> bool {
        let before = self.whole.len();
        self.whole.retain(|event| event.stream != stream);
        self.coming.remove(&stream).is_some() || self.whole.len() < before
    }
}

impl Event {
    /// What `next` says of it besides its body.
    pub fn headers(&self, arn: &str) -> Vec<(String, String)> {
        vec![
            ("Lambda-Runtime-Aws-Request-Id".to_string(), self.id.clone()),
            ("Lambda-Runtime-Deadline-Ms".to_string(), self.deadline_ms.to_string()),
            ("Lambda-Runtime-Invoked-Function-Arn".to_string(), arn.to_string()),
            ("Lambda-Runtime-Trace-Id".to_string(), self.trace.clone()),
        ]
    }
}

/// W3C's `00-<trace>-<parent>-<flags>` in X-Ray's form.
fn xray_trace(traceparent: &str) -> Option<String> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [_, trace, parent, flags] = parts.as_slice() else { return None };
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(trace, 32) || !is_hex(parent, 16) {
        return None;
    }
    let sampled = if flags.ends_with('1') { 1 } else { 0 };
    Some(format!("Root=1-{}-{};Parent={parent};Sampled={sampled}", &trace[..8], &trace[8..]))
}

/// Of an invocation that belongs to no trace: clients take one for granted, as on Lambda.
fn fresh_trace() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as u32;
    let digits = identity::hex(20);
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &digits[..24], &digits[24..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_trace_has_the_form_of_a_callers() {
        let (one, two) = (fresh_trace(), fresh_trace());
        assert_ne!(one, two);
        let lengths: Vec<usize> = one.split(['-', ';', '=']).map(str::len).collect();
        assert_eq!(lengths, [4, 1, 8, 24, 6, 16, 7, 1], "{one}");
    }

    #[test]
    fn xray_trace_has_its_form_and_nothing_of_a_malformed_one() {
        let trace = xray_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(trace, "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1");
        assert_eq!(xray_trace("00-zzz-b7ad6b7169203331-01"), None);
        assert_eq!(xray_trace("00-0af7651916cd43dd8448eb211c80319c-b7\r\nX: y-01"), None);
    }
}
