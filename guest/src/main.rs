//! hearth-guest: the launcher of the platform and of its sandboxes, and PID 1 inside each of them. Linux only.
//!
//! 1. `up` starts the platform's process without privileges and serves the launcher protocol (up, launcher).
//! 2. `spawn` gathers what a sandbox needs and forks it (instance, host, cgroup, netns.rs).
//! 3. The fork builds its root and drops its rights (sandbox, seccomp, landlock.rs), and forks the runtime.
//! 4. What remains of it supervises the runtime (supervisor.rs, outputs.rs, proxy.rs, wire.rs).
//!
//! In a microVM the same program is PID 1, init and supervisor in one (init).
//! As `bridge` it is the runtime in front of a program that speaks HTTP (bridge).

mod accounts;
mod arguments;
mod bridge;
mod cgroup;
mod control;
mod egress;
mod error;
mod host;
mod init;
mod instance;
mod landlock;
mod launcher;
mod netlink;
mod netns;
mod outputs;
mod probe;
mod proxy;
mod publish;
mod request;
mod reread;
mod sandbox;
mod seccomp;
mod supervisor;
mod sys;
mod tap;
mod tsc;
mod up;
mod vm;
mod wire;

pub const USAGE: &str =
    "hearth-guest up [--uid N --gid N] --state DIR [--keep PATH]... [--source PATH]... [--ready PATH]... \
     [--vmm PATH]... [--vm-wait-ms N] [--adopt-wait-ms N] -- COMMAND...";

fn main() {
    arguments::remember();
    let words: Vec<String> = std::env::args().skip(1).collect();
    // The kernel starts the /init of an initramfs with the arguments that are meant for the root image's.
    let is_initramfs = std::env::args().next().as_deref() == Some("/init");
    let status = match words.first().map(String::as_str) {
        _ if is_initramfs => init::run_initramfs(),
        Some("initramfs") => init::run_initramfs(),
        Some("init") => init::run(),
        Some("bridge") => bridge::run(),
        Some("up") => up::run(&words[1..]),
        // The runtime of a probe's sandbox.
        Some("selftest") => probe::selftest(),
        Some("tsc") => tsc::run(),
        Some("version") => {
            println!("hearth-guest {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
        // A VMM may append words of its own to the kernel's command line, so the word for init may be missing there.
        None if std::process::id() == 1 => init::run(),
        _ => Err(error::Error::Usage { reason: "A command is missing: up or version.".to_string() }),
    };
    let code = status.unwrap_or_else(|error| {
        eprintln!("{error}");
        1
    });
    std::process::exit(code);
}
