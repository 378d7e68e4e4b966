//! `bridge`: the runtime of Versions whose program is the user's own. Speaks the guest protocol on descriptor 3 like any runtime, starts the
//! program at BIND, and translates: Lambda's Runtime API (lambda), or HTTP to $PORT (server).
//!
//! 1. HELLO; then frames are read one by one, so that a program which speaks frames itself can be exec'd in the bridge's place with nothing lost.
//! 2. BIND: the program is started (start.rs, program.rs).
//! 3. One loop around poll(2) until the program ends, or the host does (serve.rs). What it reads follows from what it could not yet pass on,
//!    so nothing grows with what a program or a client does.

mod azure;
mod bind;
mod connection;
mod dialect;
mod failure;
mod host;
mod http;
mod identity;
mod lambda;
mod program;
mod serve;
mod server;
mod start;

use crate::error::Error;
use crate::sys;
use crate::wire;
use bind::Bind;
use failure::Failure;
use host::Host;
use std::os::fd::{AsRawFd, RawFd};

/// The runtime channel, as every runtime finds it.
const CHANNEL: RawFd = 3;

/// Runs until the program ends, or the host does; gives the program's exit code.
pub fn run() -> Result<i32, Error> {
    sys::set_name("hearth-bridge");
    let mut host = Host::new(CHANNEL);
    host.hello(&std::env::var("HEARTH_EPOCH").unwrap_or_default(), false);
    let Some(bound) = wait_for_bind(&mut host) else { return Ok(0) };
    let started = bound.and_then(|bound| start::start(host, bound));
    Ok(started.map_or_else(|failure| refuse(&failure), serve::serve))
}

/// Frame by frame: nothing behind BIND is read. None when the host is gone.
fn wait_for_bind(host: &mut Host) -> Option<Result<Bind, Failure>> {
    loop {
        let frame = host.next_exactly()?;
        match frame.kind {
            wire::BIND => return Some(Bind::parse(&frame.payload)),
            wire::SHUTDOWN => return None,
            _ => host.answer(&frame, false),
        }
        host.flush_whole();
    }
}

/// The start failed: said on stream 0, then the process ends.
fn refuse(failure: &Failure) -> i32 {
    let mut host = Host::new(CHANNEL);
    host.fail_start(failure);
    host.flush_whole();
    1
}

fn wire_json(payload: &[u8]) -> serde_json::Value {
    serde_json::from_slice(payload).unwrap_or_default()
}

/// An entry of poll(2); one without an interest still tells of errors.
fn entry(fd: &impl AsRawFd, events: i16) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
}
