//! Runs a Rust handler in an Instance: it speaks the guest protocol (docs/reference/guest-protocol.md) on fd 3, from READY on. HELLO, CONFIGURE
//! and BIND are done by whoever started the program; what BIND said is in the environment.
//!
//! One thread: while a handler runs nothing is read, so CANCEL and PING are heard between invocations, and while an answer waits for credit.

mod failure;
mod handler;
mod program;
mod wire;

pub use failure::Failure;
pub use handler::{Answer, Executor, Handler, Outcome, Parked};
pub use program::{run, run_on};

use serde::{Serialize, Serializer};
use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the platform says of one invocation.
#[derive(Debug, Clone)]
pub struct Context {
    pub request_id: String,
    /// Milliseconds since 1970.
    pub deadline_ms: u64,
    pub function_name: String,
    pub function_version: String,
    pub invoked_function_arn: String,
    pub memory_mib: u64,
    pub log_group: String,
    pub log_stream: String,
    /// W3C traceparent of the caller.
    pub traceparent: Option<String>,
    /// Media type of the event as it came.
    pub content_type: String,
}

impl Context {
    /// Time left until the platform ends the invocation.
    pub fn remaining(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(self.deadline_ms).saturating_sub(now)
    }
}

/// An answer that is sent as it is read, as fast as the caller takes it.
pub struct Stream {
    pub(crate) content_type: String,
    pub(crate) reader: Box<dyn Read>,
}

impl Stream {
    pub fn new(content_type: &str, reader: impl Read + 'static) -> Stream {
        Stream { content_type: content_type.to_string(), reader: Box::new(reader) }
    }
}

impl Serialize for Stream {
    /// Only as a whole answer: inside of another value it has no form.
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a Stream can only be the whole answer"))
    }
}
