//! Real sandboxes, made by a real launcher. Each scenario runs as the launcher's platform: an unprivileged process with the
//! control socket as descriptor 3 (`platform`); inside the sandboxes runs this program again (`inside`).

mod binds;
mod channel;
mod checks;
mod inside;
mod interleavings;
mod isolation;
mod lifecycle;
mod limits;
mod machine;
mod outside;
#[allow(dead_code)]
mod support;

use checks::Checks;
use machine::Machine;
use support::Platform;

const UID: u32 = 65_531;

type Scenario = fn(&mut Platform);

const SCENARIOS: [(&str, Scenario); 20] = [
    ("a sandbox sees nothing of the host and may change nothing", isolation::isolated),
    ("calls that reach out of a sandbox are denied", isolation::denied),
    ("a fork bomb ends at pidsMax", limits::fork_bomb),
    ("a runtime out of memory is reported as oom", limits::out_of_memory),
    ("a child out of memory is counted, the runtime lives", limits::child_out_of_memory),
    ("/tmp ends at its size and says that it is full", limits::full_tmp),
    ("bind makes code visible, read-only, once", binds::bind),
    ("layers are merged, later ones on top", binds::layers),
    ("freeze stops a sandbox and thaw lets it go on", lifecycle::freeze),
    ("freeze, thaw, stats and kill in any order are answered once each", interleavings::any_order),
    ("kill ends grandchildren too", lifecycle::kill_tree),
    ("an exit is told with its code or signal", lifecycle::exits),
    ("PING is answered after the output before it", channel::barrier),
    ("a flood of output waits in the pipe and arrives whole", limits::flood),
    ("127.0.0.1:9010 is a stream to the host with flow control", channel::platform_api),
    ("SHUTDOWN lets the runtime end", lifecycle::shutdown),
    ("a spawn that fails names its step and leaves nothing", isolation::failed_spawns),
    ("a listener of another user is refused", isolation::foreign_listener),
    ("probe finds every feature enforced", isolation::probe),
    ("a burst of spawns works and frees everything", lifecycle::burst),
];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("platform") => {
            let mut platform = Platform::new(&words[3]);
            match SCENARIOS.iter().find(|(name, _)| *name == words[2]) {
                Some((_, scenario)) => scenario(&mut platform),
                None => outside::stand_in(&mut platform, &words[2]),
            }
        }
        Some("inside") => inside::inside(&words[2]),
        filter => run_all(filter.unwrap_or("")),
    }
}

fn run_all(filter: &str) {
    // SAFETY: cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: making sandboxes with all features needs root");
        return;
    }
    let mut checks = Checks::new(filter);
    for (name, _) in SCENARIOS {
        checks.run(name, &|| Machine::new().up(name).wait().unwrap().success());
    }
    checks.run(
        "kept paths below a folder that is closed to the platform are reached, and the ready file is written",
        &outside::kept_paths,
    );
    checks.run(
        "when the platform is killed, the launcher ends everything and takes over its status",
        &outside::platform_killed,
    );
    checks.run("when the launcher is killed, everything ends, and the next start cleans up", &outside::launcher_killed);
    checks.run("without root a user namespace stands in", &outside::without_root);
    checks.run("without root a delegated cgroup v2 freezes, thaws and kills", &outside::delegated);
    checks.finish();
}
