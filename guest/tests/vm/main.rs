//! VMMs, started by a real launcher. Each scenario runs as the launcher's platform: an unprivileged process with the control
//! socket as descriptor 3 (`platform`); the VMM is this program again (`dummy`), which does over a socket what it is told.

#[path = "../sandbox/checks.rs"]
mod checks;
mod dummy;
mod guest_net;
mod jail;
mod jailer;
mod machine;
mod memory;
mod network;
mod qemu;
mod spawn;
#[path = "../sandbox/support.rs"]
#[allow(dead_code)]
mod support;
mod survival;
mod world;

use checks::Checks;
use machine::Machine;
use support::Platform;
use world::World;

const UID: u32 = 65_531;
const QEMU: &str = "/usr/bin/qemu-system-x86_64";

type Scenario = fn(&mut Platform);

const SCENARIOS: &[(&str, Scenario)] = &[
    ("a VMM has no rights, its own namespaces, and sees nothing of the host", spawn::confined),
    ("a VMM gets its descriptors in order", spawn::descriptors),
    ("a socket is the platform's alone and goes with its VM", spawn::sockets),
    ("an exit is told with its code or signal and the last words", spawn::exits),
    ("a vm_spawn that fails names its step and leaves nothing", spawn::failures),
    ("a VMM out of memory is reported as oom", spawn::out_of_memory),
    ("kill, stats and list count VMs", spawn::counted),
    ("a template is sealed and shared, and forgotten by name", memory::templates),
    ("copying a template holds up no other verb", memory::busy),
    ("QEMU gives its state away and a clone goes on from it", qemu::snapshot),
    ("a jailed VM has its files, its tap and its limits, and leaves nothing", jail::jailed),
    ("a jail that cannot be is refused by name and leaves nothing", jail::refused),
    ("50 VMs leave nothing", spawn::fifty),
];

/// On a host of their own, with an internet.
const NETWORKED: &[(&str, Scenario)] = &[
    ("without a way out a guest reaches nothing", network::none),
    ("with a way out it reaches the internet, and neither the host nor private networks nor others", network::egress),
    ("all name service goes to the platform's resolver", network::names),
    ("traffic is limited to the rate", network::rate),
    ("a burst of VMs with networks leaves no interface", network::burst),
    ("the flows of a VM end with it", network::flows),
];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("platform") => {
            let mut platform = Platform::new(&words[3]);
            let found = SCENARIOS.iter().chain(NETWORKED).find(|(name, _)| *name == words[2]);
            match found {
                Some((_, scenario)) => scenario(&mut platform),
                None => survival::stand_in(&mut platform, &words[2]),
            }
        }
        Some("--id") => jailer::run(&words[1..]),
        Some(word) if word.starts_with("--id=") => jailer::firecracker(&words[1..]),
        Some("internet") => world::internet(),
        Some("dummy") => dummy::run(&words[2..]),
        filter => run_all(filter.unwrap_or("")),
    }
}

fn run_all(filter: &str) {
    // SAFETY: cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: starting VMs needs root");
        return;
    }
    let mut checks = Checks::new(filter);
    for (name, _) in SCENARIOS {
        checks.run(name, &|| Machine::new().up(name).wait().unwrap().success());
    }
    checks.run("VMs of a killed platform are adopted or swept by the next launcher", &survival::platform_killed);
    checks.run("a jailed VM of a killed launcher is adopted, jail and socket with it", &survival::jailed);
    checks.run("VMs that nobody adopts are swept in time", &survival::not_adopted);
    checks.run("an orderly end leaves no VM", &survival::orderly);
    match World::missing() {
        Some(reason) => println!("skipped: networks of VMs: {reason}"),
        None => {
            checks.run("VMs of a killed launcher keep their network and its rules", &survival::launcher_killed);
            checks.run("VMs that no launcher comes for are reaped", &survival::nobody_came);
            for (name, _) in NETWORKED {
                checks.run(name, &|| {
                    let world = World::new();
                    let mut machine = Machine::new();
                    machine.prefix = world.prefix();
                    machine.up(name).wait().unwrap().success()
                });
            }
        }
    }
    checks.finish();
}
