//! The real bridge over a socket pair, in front of small programs in Python that stand in for runtimes and servers. Each has a network
//! and /var/task, /opt of its own, which needs root; without it every test says so and passes.

mod azure;
mod faults;
mod http;
mod lambda;
mod lambda_stream;
mod lifecycle;
mod rig;
#[allow(dead_code)]
#[path = "../../src/wire.rs"]
mod wire;
