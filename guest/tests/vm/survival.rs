//! VMs that outlive a launcher: kept, adopted, swept, reaped. Watched from outside, over two starts with one state folder.

use crate::machine::Machine;
use crate::network::{sees_internet, SILENCE};
use crate::spawn::{connect, fields, VM_UID};
use crate::support::{eventually, processes_with, Platform};
use crate::world::{World, CLOSED, OPEN, PORT};
use serde_json::{json, Value};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

/// What the first platform told about itself and its VMs.
fn ready(machine: &Machine) -> Value {
    let read = || fs::read_to_string(format!("{}/ready", machine.folder)).ok();
    eventually("the ready file", || read().is_some());
    serde_json::from_str(&read().unwrap()).unwrap()
}

fn kill(pid: i64, signal: i32) {
    // SAFETY: takes plain numbers.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

fn is_alive(pid: &Value) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

fn dummies(machine: &Machine) -> usize {
    processes_with(&format!("dummy serve {}/state", machine.folder)).len()
}

fn reaper(machine: &Machine) -> Value {
    let text = fs::read_to_string(format!("{}/state/vms/.reaper", machine.folder)).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["pid"].clone()
}

/// No process, socket, record, cgroup, interface or rule.
fn assert_nothing_left(machine: &Machine, ready: &Value, reaper: &Value, world: Option<&World>) {
    assert_eq!(dummies(machine), 0);
    eventually("the reaper's end", || !is_alive(reaper));
    let state = format!("{}/state", machine.folder);
    assert!(fs::metadata(format!("{state}/vms")).is_err(), "records are left");
    let sockets = fs::read_dir(format!("{state}/instances")).unwrap().flatten();
    let sockets: Vec<_> = sockets.filter(|entry| entry.file_name() != ".work").collect();
    assert!(sockets.is_empty(), "{sockets:?}");
    for path in ready["cgroups"].as_array().unwrap() {
        assert!(fs::metadata(path.as_str().unwrap()).is_err(), "{path} is left");
    }
    if let Some(world) = world {
        eventually("the end of interfaces", || !world.host_has_interface("hth"));
        eventually("the end of rules", || !world.host_rules().contains("hearth-"));
    }
}

fn start(machine: &Machine, scenario: &str) -> (Child, Value) {
    let launcher = machine.up(scenario);
    let ready = ready(machine);
    fs::remove_file(format!("{}/ready", machine.folder)).unwrap();
    (launcher, ready)
}

pub fn platform_killed() -> bool {
    let machine = Machine::new();
    let (mut launcher, ready) = start(&machine, "leave");
    kill(ready["platform"].as_i64().unwrap(), libc::SIGKILL);
    assert_eq!(launcher.wait().unwrap().code(), Some(137));
    assert_eq!(dummies(&machine), 3);
    let reaper = reaper(&machine);
    assert!(is_alive(&reaper));
    assert!(machine.up("adopt").wait().unwrap().success());
    assert_nothing_left(&machine, &ready, &reaper, None);
    true
}

/// With a network: what was open stays open and what was closed stays closed, also while nobody is there.
pub fn launcher_killed() -> bool {
    let world = World::new();
    let mut machine = Machine::new();
    machine.prefix = world.prefix();
    let (mut launcher, ready) = start(&machine, "leave networked");
    kill(i64::from(launcher.id()), libc::SIGKILL);
    assert_eq!(launcher.wait().unwrap().signal(), Some(libc::SIGKILL));
    eventually("the platform's end", || !is_alive(&ready["platform"]));
    assert_eq!(dummies(&machine), 3);
    let reaper = reaper(&machine);
    assert!(world.host_rules().contains("hearth-"));
    // Another launcher's start sweeps what the killed left; not what a reaper guards.
    let mut other = Machine::new();
    other.prefix = world.prefix();
    assert!(other.up("pass").wait().unwrap().success());
    assert_eq!(dummies(&machine), 3);
    fs::write(format!("{}/state/ready.json", machine.folder), ready.to_string()).unwrap();
    assert!(machine.up("adopt networked").wait().unwrap().success());
    assert_nothing_left(&machine, &ready, &reaper, Some(&world));
    true
}

pub fn nobody_came() -> bool {
    let world = World::new();
    let mut machine = Machine::new();
    machine.prefix = world.prefix();
    machine.options = vec!["--vm-wait-ms".to_string(), "600".to_string()];
    let (mut launcher, ready) = start(&machine, "leave networked");
    let reaper = reaper(&machine);
    let before = Instant::now();
    kill(i64::from(launcher.id()), libc::SIGKILL);
    launcher.wait().unwrap();
    assert_eq!(dummies(&machine), 3);
    eventually("the reaping", || dummies(&machine) == 0);
    assert!(before.elapsed() >= Duration::from_millis(600));
    eventually("the end of records", || fs::metadata(format!("{}/state/vms", machine.folder)).is_err());
    // The sockets' folder is the platform's to clean, at its next start.
    fs::remove_dir_all(format!("{}/state/instances", machine.folder)).unwrap();
    fs::create_dir(format!("{}/state/instances", machine.folder)).unwrap();
    assert_nothing_left(&machine, &ready, &reaper, Some(&world));
    true
}

pub fn not_adopted() -> bool {
    let mut machine = Machine::new();
    let (mut launcher, ready) = start(&machine, "leave");
    let reaper = reaper(&machine);
    kill(i64::from(launcher.id()), libc::SIGKILL);
    launcher.wait().unwrap();
    machine.options = vec!["--adopt-wait-ms".to_string(), "300".to_string()];
    assert!(machine.up("wait for the sweep").wait().unwrap().success());
    assert_nothing_left(&machine, &ready, &reaper, None);
    true
}

pub fn orderly() -> bool {
    let machine = Machine::new();
    let (mut launcher, ready) = start(&machine, "leave");
    let reaper = reaper(&machine);
    kill(i64::from(launcher.id()), libc::SIGTERM);
    launcher.wait().unwrap();
    fs::remove_dir_all(format!("{}/state/instances", machine.folder)).unwrap();
    fs::create_dir(format!("{}/state/instances", machine.folder)).unwrap();
    assert_nothing_left(&machine, &ready, &reaper, None);
    true
}

pub fn jailed() -> bool {
    let machine = Machine::new();
    let (mut launcher, ready) = start(&machine, "leave jailed");
    let reaper = reaper(&machine);
    kill(i64::from(launcher.id()), libc::SIGKILL);
    launcher.wait().unwrap();
    assert!(is_alive(&ready["vm"]));
    assert!(machine.up("adopt jailed").wait().unwrap().success());
    assert!(!is_alive(&ready["vm"]));
    assert_nothing_left(&machine, &json!({ "cgroups": [] }), &reaper, None);
    fs::metadata(format!("{}/state/jails", machine.folder)).is_err()
}

// ---- the platform's side of these

fn leave_jailed(platform: &mut Platform) {
    platform.write("kernel", "I am a kernel");
    let pid = platform.must("vm_jail", crate::jail::fields(platform, "v-1"))["pid"].clone();
    platform.must("vm_share", json!({ "instance": "v-1", "name": "api.sock" }));
    let content = json!({ "platform": std::process::id(), "vm": pid });
    let path = format!("{}/ready", platform.folder.trim_end_matches("/state"));
    platform.must("publish", json!({ "path": path, "content": content.to_string() }));
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn adopt_jailed(platform: &mut Platform) {
    let adopted = platform.must("vm_adopt", json!({ "instance": "v-1" }));
    let root = format!("{}/jails/firecracker/v-1/root", platform.folder);
    assert_eq!(adopted["root"], root);
    platform.must("vm_share", json!({ "instance": "v-1", "name": "api.sock" }));
    let mut vm = connect(&format!("{root}/api.sock"), 0);
    assert_eq!(vm.ask("cat /kernel"), "I am a kernel");
    assert_eq!(platform.must("kill", json!({ "instance": "v-1" }))["signal"], "SIGKILL");
}

fn socket(platform: &Platform, id: &str) -> String {
    format!("{}/instances/{id}/vm.sock", platform.folder)
}

pub fn stand_in(platform: &mut Platform, what: &str) {
    match what {
        "leave" => leave(platform, false),
        "leave networked" => leave(platform, true),
        "leave jailed" => leave_jailed(platform),
        "adopt jailed" => adopt_jailed(platform),
        "adopt" => adopt(platform, None),
        "adopt networked" => {
            let text = fs::read_to_string(format!("{}/ready.json", platform.folder)).unwrap();
            adopt(platform, Some(serde_json::from_str(&text).unwrap()));
        }
        "wait for the sweep" => {
            assert_eq!(platform.must("list", json!({}))["instances"].as_array().unwrap().len(), 3);
            let mut ended = 0;
            while ended < 3 {
                ended += i32::from(platform.event()["event"] == "exited");
            }
        }
        "pass" => assert_eq!(platform.must("list", json!({}))["instances"], json!([])),
        other => panic!("no scenario \"{other}\""),
    }
}

fn leave(platform: &mut Platform, is_networked: bool) {
    let mut networks = Vec::new();
    let mut cgroups = Vec::new();
    for id in ["v-1", "v-2", "v-3"] {
        fs::create_dir_all(format!("{}/instances/{id}", platform.folder)).unwrap();
        let mut all = fields(platform, id, &["serve", &platform.folder.clone()]);
        all["listen"] = json!([{ "path": socket(platform, id) }]);
        all["hasTap"] = json!(is_networked);
        let pid = platform.must("vm_spawn", all)["pid"].clone();
        if is_networked {
            let fields = json!({ "instance": id, "network": "egress", "resolver": null });
            networks.push(platform.must("vm_network", fields));
        }
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        cgroups.extend(text.lines().filter_map(|line| line.split_once("/hearth-")).map(|(controller, path)| {
            let name = controller.split(':').nth(1).filter(|name| !name.is_empty()).unwrap_or("unified");
            format!("/sys/fs/cgroup/{name}/hearth-{path}")
        }));
    }
    assert!(!cgroups.is_empty());
    let content = json!({ "platform": std::process::id(), "cgroups": cgroups, "networks": networks });
    let path = format!("{}/ready", platform.folder.trim_end_matches("/state"));
    platform.must("publish", json!({ "path": path, "content": content.to_string() }));
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn exited(platform: &mut Platform) -> Value {
    loop {
        let event = platform.event();
        if event["event"] == "exited" {
            return event;
        }
    }
}

fn adopt(platform: &mut Platform, before: Option<Value>) {
    let list = platform.must("list", json!({}));
    let entries = list["instances"].as_array().unwrap();
    assert_eq!(entries.len(), 3, "{list}");
    assert!(entries.iter().all(|entry| entry["kind"] == "vm" && entry["isAdopted"] == false), "{list}");
    assert_eq!(platform.ask("vm_adopt", json!({ "instance": "v-9" }))["error"], "There is no instance \"v-9\".");
    // A name in use, an address in use: neither is given out again.
    let mut taken = fields(platform, "v-2", &["serve"]);
    taken["uid"] = json!(VM_UID + 1);
    assert_eq!(platform.ask("vm_spawn", taken)["error"], "Instance \"v-2\" exists already.");
    for id in ["v-1", "v-2"] {
        let adopted = platform.must("vm_adopt", json!({ "instance": id }));
        let pid = adopted["pid"].clone();
        assert_eq!(adopted["root"], Value::Null);
        assert!(adopted["uid"].as_u64().is_some_and(|uid| uid > 0));
        assert!(entries.iter().any(|entry| entry["instance"] == id && entry["pid"] == pid));
    }
    let mut vm = connect(&socket(platform, "v-1"), 0);
    assert!(vm.ask("status").contains("State"));
    assert!(platform.must("stats", json!({ "instance": "v-1" }))["memoryBytes"].as_u64().unwrap() > 0);
    if let Some(before) = before {
        let first = &before["networks"][0];
        let again = json!({ "instance": "v-1", "network": "egress", "resolver": null });
        assert_eq!(platform.must("vm_network", again)["address"], first["address"]);
        let mut udp = |to: &str| {
            let [address, gateway] = [&first["address"], &first["gateway"]].map(|text| text.as_str().unwrap());
            vm.ask(&format!("udp 4 {address} {gateway} {to} {PORT} hello"))
        };
        assert!(sees_internet(&udp(OPEN)));
        assert_eq!(udp(CLOSED[0]), SILENCE);
        fs::create_dir_all(format!("{}/instances/v-4", platform.folder)).unwrap();
        let mut all = fields(platform, "v-4", &["serve", &platform.folder.clone()]);
        all["listen"] = json!([{ "path": socket(platform, "v-4") }]);
        all["hasTap"] = json!(true);
        platform.must("vm_spawn", all);
        let network = json!({ "instance": "v-4", "network": "egress", "resolver": null });
        let address = platform.must("vm_network", network)["address"].clone();
        assert!(before["networks"].as_array().unwrap().iter().all(|network| network["address"] != address));
        fs::remove_dir_all(format!("{}/instances/v-4", platform.folder)).unwrap();
    }
    // What it writes is heard again; how it ends nobody can tell, for it is no child.
    assert_eq!(vm.ask("say goodbye"), "said");
    drop(vm);
    let mut vm = connect(&socket(platform, "v-1"), 0);
    vm.ask("end");
    let event = exited(platform);
    assert_eq!((&event["instance"], &event["stderr"]), (&json!("v-1"), &json!("goodbye\n")), "{event}");
    assert!(fs::metadata(socket(platform, "v-1")).is_err());
    let swept = platform.must("vm_sweep", json!({}));
    assert_eq!(swept["instances"], json!(["v-3"]));
    let event = exited(platform);
    assert_eq!((&event["instance"], &event["signal"]), (&json!("v-3"), &json!("SIGKILL")), "{event}");
    assert!(fs::metadata(socket(platform, "v-3")).is_err());
    // Its folder went with it; those of adopted ones are the platform's.
    assert!(fs::metadata(format!("{}/instances/v-3", platform.folder)).is_err());
    for id in ["v-1", "v-2"] {
        fs::remove_file(socket(platform, id)).ok();
        fs::remove_dir(format!("{}/instances/{id}", platform.folder)).unwrap();
    }
    // v-2 lives on; an orderly end takes it along.
}
