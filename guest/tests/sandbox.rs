//! Real sandboxes, made by a real launcher. Each scenario runs as the launcher's platform: an unprivileged process with the
//! control socket as descriptor 3 (`platform`); inside the sandboxes runs this program again (`inside`).

mod support;

use serde_json::{json, Value};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use support::{eventually, processes_with, Platform};

const UID: u32 = 65_531;

type Scenario = fn(&mut Platform);

const SCENARIOS: [(&str, Scenario); 19] = [
    ("a sandbox sees nothing of the host and may change nothing", isolated),
    ("calls that reach out of a sandbox are denied", denied),
    ("a fork bomb ends at pidsMax", fork_bomb),
    ("a runtime out of memory is reported as oom", out_of_memory),
    ("a child out of memory is counted, the runtime lives", child_out_of_memory),
    ("/tmp ends at its size and says that it is full", full_tmp),
    ("bind makes code visible, read-only, once", bind),
    ("layers are merged, later ones on top", layers),
    ("freeze stops a sandbox and thaw lets it go on", freeze),
    ("kill ends grandchildren too", kill_tree),
    ("an exit is told with its code or signal", exits),
    ("PING is answered after the output before it", barrier),
    ("a flood of output waits in the pipe and arrives whole", flood),
    ("127.0.0.1:9010 is a stream to the host with flow control", platform_api),
    ("SHUTDOWN lets the runtime end", shutdown),
    ("a spawn that fails names its step and leaves nothing", failed_spawns),
    ("a listener of another user is refused", foreign_listener),
    ("probe finds every feature enforced", probe),
    ("a burst of spawns works and frees everything", burst),
];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("platform") => {
            let mut platform = Platform::new(&words[3]);
            match SCENARIOS.iter().find(|(name, _)| *name == words[2]) {
                Some((_, scenario)) => scenario(&mut platform),
                None => stand_in(&mut platform, &words[2]),
            }
        }
        Some("inside") => inside(&words[2]),
        filter => run_all(filter.unwrap_or("")),
    }
}

// ---- outside: as root

fn run_all(filter: &str) {
    // SAFETY: cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: making sandboxes with all features needs root");
        return;
    }
    let mut failed = Vec::new();
    let mut check = |name: &str, run: &dyn Fn() -> bool| {
        if name.contains(filter) {
            let started = Instant::now();
            let verdict = if run() { "ok" } else { "FAILED" };
            println!("{verdict:>6}  {name} ({} ms)", started.elapsed().as_millis());
            if verdict != "ok" {
                failed.push(name.to_string());
            }
        }
    };
    for (name, _) in SCENARIOS {
        check(name, &|| Machine::new().up(name).wait().unwrap().success());
    }
    check(
        "kept paths below a folder that is closed to the platform are reached, and the ready file is written",
        &kept_paths,
    );
    check("when the platform is killed, the launcher ends everything and takes over its status", &platform_killed);
    check("when the launcher is killed, everything ends, and the next start cleans up", &launcher_killed);
    check("without root a user namespace stands in", &without_root);
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// A temporary folder with a state folder in it.
struct Machine {
    folder: String,
    uid: u32,
    /// A socket that root listens on, `root.sock`.
    _listener: UnixListener,
}

impl Machine {
    fn new() -> Machine {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("hearth-guest-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("state")).unwrap();
        std::os::unix::fs::chown(folder.join("state"), Some(UID), Some(UID)).unwrap();
        let listener = UnixListener::bind(folder.join("root.sock")).unwrap();
        fs::set_permissions(folder.join("root.sock"), fs::Permissions::from_mode(0o777)).unwrap();
        Machine { _listener: listener, folder: folder.to_string_lossy().into_owned(), uid: 0 }
    }

    fn command(&self, scenario: &str) -> Command {
        let state = format!("{}/state", self.folder);
        let tester = std::env::current_exe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth-guest"));
        command.args(["up", "--uid", &UID.to_string(), "--gid", &UID.to_string(), "--state", &state]);
        command.args(["--keep", &state, "--ready", &format!("{}/ready", self.folder)]);
        command.arg("--").arg(tester).args(["platform", scenario, &state]);
        if self.uid != 0 {
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    fn up(&self, scenario: &str) -> Child {
        self.command(scenario).spawn().unwrap()
    }

    fn ready(&self) -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(format!("{}/ready", self.folder)).ok()?).ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn kept_paths() -> bool {
    let machine = Machine::new();
    fs::set_permissions(&machine.folder, fs::Permissions::from_mode(0o700)).unwrap();
    let status = machine.up("ready").wait().unwrap();
    status.success() && machine.ready().is_some()
}

fn platform_killed() -> bool {
    let machine = Machine::new();
    let mut launcher = machine.up("wait");
    eventually("the ready file", || machine.ready().is_some());
    let ready = machine.ready().unwrap();
    let started = Instant::now();
    kill(ready["platform"].as_i64().unwrap() as i32);
    let status = launcher.wait().unwrap();
    println!("        ended {} ms after the platform", started.elapsed().as_millis());
    status.code() == Some(137) && started.elapsed() < Duration::from_secs(5) && nothing_left(&ready)
}

fn launcher_killed() -> bool {
    let machine = Machine::new();
    let mut launcher = machine.up("wait");
    eventually("the ready file", || machine.ready().is_some());
    let ready = machine.ready().unwrap();
    kill(launcher.id() as i32);
    assert_eq!(launcher.wait().unwrap().signal(), Some(libc::SIGKILL));
    let platform = ready["platform"].as_i64().unwrap();
    let started = Instant::now();
    eventually("the end of the sandbox", || processes_with(ready["marker"].as_str().unwrap()).is_empty());
    eventually("the end of the platform", || fs::metadata(format!("/proc/{platform}")).is_err());
    println!("        all ended {} ms after the launcher", started.elapsed().as_millis());
    let next: ExitStatus = machine.up("ready").wait().unwrap();
    next.success() && nothing_left(&ready)
}

fn without_root() -> bool {
    let mut machine = Machine::new();
    machine.uid = UID;
    std::os::unix::fs::chown(&machine.folder, Some(UID), Some(UID)).unwrap();
    machine.up("unprivileged").wait().unwrap().success()
}

fn kill(pid: i32) {
    // SAFETY: takes plain numbers.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

fn nothing_left(ready: &Value) -> bool {
    let processes = processes_with(ready["marker"].as_str().unwrap());
    let cgroups = cgroups_of(ready["pids"].as_array().unwrap());
    if !processes.is_empty() || !cgroups.is_empty() {
        println!("        left: {processes:?} {cgroups:?}");
    }
    processes.is_empty() && cgroups.is_empty()
}

/// Cgroup folders that the sandboxes were in and that still exist.
fn cgroups_of(paths: &[Value]) -> Vec<String> {
    paths.iter().filter_map(Value::as_str).filter(|path| fs::metadata(path).is_ok()).map(str::to_string).collect()
}

// ---- the platform's side

/// What the outer tests watch from outside: not a scenario of its own.
fn stand_in(platform: &mut Platform, what: &str) {
    let ready = format!("{}/ready", platform.folder.trim_end_matches("/state"));
    // SAFETY: cannot fail.
    assert_eq!(unsafe { libc::getuid() }, UID);
    match what {
        "unprivileged" => unprivileged(platform),
        "ready" => {
            let (text, event) = platform.run("i-1", "hello");
            assert_eq!((text.as_str(), &event["code"]), ("hello\n", &json!(0)));
            platform.must("publish", json!({ "path": ready, "content": "{}" }));
            let refused = platform.ask("publish", json!({ "path": "/etc/hearth-test", "content": "" }));
            assert_eq!(refused["ok"], false);
        }
        "wait" => {
            let mut sandbox = platform.spawn("i-1", "grandchild");
            sandbox.wait_for(b'g');
            let cgroups: Vec<String> = fs::read_to_string(format!("/proc/{}/cgroup", sandbox.pid))
                .unwrap()
                .lines()
                .filter_map(|line| line.split_once("/hearth-"))
                .map(|(controller, path)| {
                    let name = controller.split(':').nth(1).filter(|name| !name.is_empty()).unwrap_or("unified");
                    format!("/sys/fs/cgroup/{name}/hearth-{path}")
                })
                .collect();
            assert!(!cgroups.is_empty());
            let content = json!({ "platform": std::process::id(), "marker": "13579.246", "pids": cgroups });
            platform.must("publish", json!({ "path": ready, "content": content.to_string() }));
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        other => panic!("no scenario \"{other}\""),
    }
}

fn isolated(platform: &mut Platform) {
    let (text, event) = platform.run("i-1", "look");
    assert_eq!(event, json!({ "event": "exited", "instance": "i-1", "code": 0, "signal": null, "oom": false }));
    let found: Value = serde_json::from_str(&text).unwrap();
    let wanted = json!({
        "uid": 70_001, "gid": 70_001, "pid": 2, "hostname": "hearth", "cwd": "/var/task",
        "caps": ["0000000000000000", "0000000000000000", "0000000000000000", "0000000000000000", "0000000000000000"],
        "noNewPrivs": "1", "seccomp": "2", "groups": "",
        "pids": ["2"], "fds": ["0", "1", "2", "3"], "interfaces": ["lo"], "mnt": [], "core": 0,
        "cgroups": "/",
        "writes": { "/x": "EROFS", "/usr/x": "EROFS", "/etc/x": "EROFS", "/var/x": "EROFS", "/var/task/x": "EROFS", "/dev/x": "EROFS",
            "/proc/sys/kernel/hostname": "EROFS", "/tmp/x": "0", "/dev/shm/x": "0" },
        "reads": { "/etc/shadow": "ENOENT", "/proc/1/environ": "ENOENT", "/proc/keys": "0", "/sys/kernel": "ENOENT",
            "/root": "ENOENT", "/home": "ENOENT", "/dev/kmsg": "ENOENT", "/dev/mem": "ENOENT" },
    });
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&found[key], value, "{key}");
    }
}

fn denied(platform: &mut Platform) {
    let (text, _) = platform.run("i-1", "deny");
    let found: Value = serde_json::from_str(&text).unwrap();
    for (call, errno) in found.as_object().unwrap() {
        let wanted = match call.as_str() {
            "clone3" => "ENOSYS",
            // Listed to see that ordinary calls work.
            "socket unix" | "socket inet" | "thread" => "0",
            _ => "EPERM",
        };
        assert_eq!(errno, wanted, "{call}");
    }
    assert!(found.as_object().unwrap().len() > 15);
}

fn fork_bomb(platform: &mut Platform) {
    let (text, _) = platform.run("i-1", "fork");
    let count: u32 = text.trim().parse().unwrap();
    assert!((20..=32).contains(&count), "forked {count}");
}

fn out_of_memory(platform: &mut Platform) {
    let (_, event) = platform.run("i-1", "eat");
    assert_eq!(event, json!({ "event": "exited", "instance": "i-1", "code": null, "signal": "SIGKILL", "oom": true }));
}

fn child_out_of_memory(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "eat in child");
    sandbox.wait_for(b'k');
    let stats = platform.must("stats", json!({ "instance": "i-1" }));
    assert_eq!(stats["oomKills"], 1);
    assert!(stats["memoryPeakBytes"].as_u64().unwrap() > 40 << 20);
    let reset = platform.must("stats", json!({ "instance": "i-1", "resetPeak": true }));
    assert!(reset["memoryBytes"].as_u64().unwrap() < 40 << 20);
    assert!(platform.must("stats", json!({ "instance": "i-1" }))["memoryPeakBytes"].as_u64().unwrap() < 40 << 20);
    sandbox.tell();
    let event = platform.event();
    assert_eq!((&event["code"], &event["oom"]), (&json!(0), &json!(false)));
}

fn full_tmp(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "fill");
    sandbox.wait_for(b'f');
    let stats = platform.must("stats", json!({ "instance": "i-1" }));
    assert_eq!((&stats["tmpFull"], &stats["tmpBytes"]), (&json!(true), &json!(8 << 20)));
    let mut fields = platform.bind_fields("i-1");
    fields["tmpMib"] = json!(16);
    platform.must("bind", fields);
    assert_eq!(platform.must("stats", json!({ "instance": "i-1" }))["tmpFull"], false);
    sandbox.tell();
    assert_eq!(sandbox.rest(), "8388608 ENOSPC\n16777216 ENOSPC\n");
}

fn bind(platform: &mut Platform) {
    platform.write("code/index.txt", "my code");
    fs::create_dir_all(format!("{}/cache", platform.folder)).unwrap();
    platform.write("cache/index.bin", "my cache");
    let mut sandbox = platform.spawn("i-1", "read");
    sandbox.wait_for(b'e');
    let mut fields = platform.bind_fields("i-1");
    fields["cache"] = json!(format!("{}/cache", platform.folder));
    assert_eq!(platform.ask("bind", json!({ "instance": "i-2" }))["step"], "request");
    let mut broken = fields.clone();
    broken["cache"] = json!("/does/not/exist");
    let reply = platform.ask("bind", broken);
    assert_eq!(reply["error"], "Cannot open \"/does/not/exist\": No such file or directory.");
    platform.must("bind", fields.clone());
    let again = platform.ask("bind", fields);
    assert_eq!(again["error"], "Instance \"i-1\" is bound already.");
    sandbox.tell();
    assert_eq!(sandbox.rest(), "my code my cache EROFS EROFS EROFS\n");
}

fn layers(platform: &mut Platform) {
    platform.write("layer1/a", "one");
    platform.write("layer1/b", "one");
    platform.write("layer2/b", "two");
    for (id, names, wanted) in [("i-1", vec!["layer1"], "one one"), ("i-2", vec!["layer1", "layer2"], "one two")] {
        let mut sandbox = platform.spawn(id, "read layers");
        let mut fields = platform.bind_fields(id);
        fields["layers"] = names.iter().map(|name| json!(format!("{}/{name}", platform.folder))).collect();
        platform.must("bind", fields);
        sandbox.tell();
        assert_eq!(sandbox.rest(), format!("{wanted} EROFS\n"));
        platform.event();
    }
}

fn freeze(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "tick");
    sandbox.wait_for(b't');
    let before = Instant::now();
    platform.must("freeze", json!({ "instance": "i-1" }));
    println!("        frozen in {} us", before.elapsed().as_micros());
    sandbox.runtime.set_nonblocking(true).unwrap();
    while sandbox.runtime.read(&mut [0u8; 4096]).is_ok() {}
    std::thread::sleep(Duration::from_millis(100));
    assert!(sandbox.runtime.read(&mut [0u8; 4096]).is_err(), "it ticked while frozen");
    platform.must("thaw", json!({ "instance": "i-1" }));
    sandbox.runtime.set_nonblocking(false).unwrap();
    sandbox.wait_for(b't');
    platform.must("freeze", json!({ "instance": "i-1" }));
    let killed = platform.must("kill", json!({ "instance": "i-1" }));
    assert_eq!((&killed["signal"], &killed["oom"]), (&json!("SIGKILL"), &json!(false)));
}

fn kill_tree(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "grandchild");
    sandbox.wait_for(b'g');
    assert_eq!(processes_with("13579.246").len(), 1);
    assert_eq!(platform.must("list", json!({}))["instances"][0]["pid"], sandbox.pid);
    let before = Instant::now();
    platform.must("kill", json!({ "instance": "i-1" }));
    println!("        killed in {} us", before.elapsed().as_micros());
    assert!(processes_with("13579.246").is_empty());
    assert_eq!(platform.must("list", json!({}))["instances"], json!([]));
    assert_eq!(platform.event()["event"], "exited");
    let again = platform.must("kill", json!({ "instance": "i-1" }));
    assert_eq!((&again["code"], &again["signal"]), (&Value::Null, &Value::Null));
}

fn exits(platform: &mut Platform) {
    assert_eq!(platform.run("i-1", "exit 7").1["code"], 7);
    let event = platform.run("i-2", "abort").1;
    assert_eq!((&event["code"], &event["signal"]), (&Value::Null, &json!("SIGABRT")));
    // A child that lives on and holds the pipes does not delay the end.
    let before = Instant::now();
    let (text, event) = platform.run("i-3", "leave a child");
    assert_eq!((text.as_str(), &event["code"]), ("left\n", &json!(0)));
    assert!(before.elapsed() < Duration::from_secs(2));
}

fn barrier(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "write on demand");
    for round in 0..200u32 {
        sandbox.tell();
        sandbox.wait_for(b'w');
        sandbox.send(support::PING, 0, 0, &round.to_be_bytes());
        let mut bytes = 0;
        loop {
            match sandbox.frame().unwrap() {
                (support::LOG, 1, 0, text) => bytes += text.len(),
                (support::PING, 1, 0, payload) => break assert_eq!(payload, round.to_be_bytes()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bytes, 1000, "round {round}");
    }
    platform.must("kill", json!({ "instance": "i-1" }));
}

fn flood(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "flood");
    std::thread::sleep(Duration::from_millis(300));
    let status = fs::read_to_string(format!("/proc/{}/status", sandbox.pid)).unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap().trim();
    println!("        supervisor under flood: {anonymous}");
    assert!(anonymous.trim_end_matches(" kB").parse::<u32>().unwrap() < 2048);
    let text = sandbox.rest();
    assert_eq!(text.len(), 50_000_000);
}

fn platform_api(platform: &mut Platform) {
    const BYTES: usize = 1_000_000;
    let mut sandbox = platform.spawn("i-1", "call");
    let (mut echoed, mut credit, mut waiting) = (0usize, 262_144usize, Vec::new());
    let (mut received, mut is_ended) = (0usize, false);
    let (kind, _, stream, payload) = sandbox.frame().unwrap();
    assert_eq!((kind, stream, payload.as_slice()), (support::OPEN, 2, &b"{\"service\":\"platform-api\"}"[..]));
    loop {
        match sandbox.frame().unwrap() {
            (support::DATA, 0, 2, bytes) => {
                received += bytes.len();
                waiting.extend_from_slice(&bytes);
                sandbox.send(support::CREDIT, 0, 2, &(bytes.len() as u32).to_be_bytes());
            }
            (support::CREDIT, 0, 2, bytes) => credit += u32::from_be_bytes(bytes.try_into().unwrap()) as usize,
            (support::END, 1, 2, _) => is_ended = true,
            (support::LOG, ..) => {}
            other => panic!("{other:?}"),
        }
        while credit > 0 && !waiting.is_empty() {
            let part: Vec<u8> = waiting.drain(..waiting.len().min(credit).min(65_536)).collect();
            credit -= part.len();
            echoed += part.len();
            sandbox.send(support::DATA, 0, 2, &part);
        }
        if is_ended && echoed == BYTES {
            break;
        }
    }
    assert_eq!(received, BYTES);
    sandbox.send(support::END, 1, 2, b"");
    assert_eq!(sandbox.rest(), "1000000 same\n");
}

fn shutdown(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "wait");
    sandbox.wait_for(b'r');
    sandbox.send(support::SHUTDOWN, 0, 0, b"{\"graceMs\":5000}");
    assert_eq!(platform.event()["signal"], "SIGTERM");
    let mut stubborn = platform.spawn("i-2", "wait stubbornly");
    stubborn.wait_for(b'r');
    stubborn.send(support::SHUTDOWN, 0, 0, b"{\"graceMs\":50}");
    assert_eq!(platform.event()["signal"], "SIGKILL");
}

fn failed_spawns(platform: &mut Platform) {
    let good = platform.spawn_fields("i-1", &["/does/not/exist"]);
    let listeners = platform.listen("i-1");
    let reply = platform.ask("spawn", good.clone());
    assert_eq!(reply["step"], "exec");
    assert_eq!(reply["error"], "Cannot start the sandbox: step \"exec\" failed: No such file or directory.");
    for (field, value, step) in [
        ("channel", json!("/does/not/exist"), "channel"),
        ("etc", json!("/does/not/exist"), "binds"),
        ("uid", json!(UID), "request"),
        ("uid", json!(0), "request"),
        ("instance", json!("../x"), "request"),
        ("binds", json!([{ "source": "/etc", "target": "/usr/hearth-not-there" }]), "mounts"),
    ] {
        let mut fields = good.clone();
        fields["argv"] = json!(["/tester", "inside", "hello"]);
        fields[field] = value;
        let reply = platform.ask("spawn", fields);
        assert_eq!((&reply["ok"], &reply["step"]), (&json!(false), &json!(step)), "{field}: {reply}");
    }
    drop(listeners);
    // The name is free again.
    assert_eq!(platform.run("i-1", "hello").0, "hello\n");
    assert!(platform.events.is_empty(), "{:?}", platform.events);
}

fn foreign_listener(platform: &mut Platform) {
    let mut fields = platform.spawn_fields("i-1", &["/tester", "inside", "hello"]);
    let path = format!("{}/root.sock", platform.folder.trim_end_matches("/state"));
    fields["channel"] = json!(path);
    let reply = platform.ask("spawn", fields);
    let wanted = format!("Socket \"{path}\" is listened on by uid 0, but it must be uid {UID}.");
    assert_eq!(reply["error"], wanted);
}

fn probe(platform: &mut Platform) {
    let reply = platform.must("probe", json!({}));
    assert_eq!(reply["root"], true);
    for feature in reply["features"].as_array().unwrap() {
        let is_optional = feature["feature"] == "egress" || feature["feature"] == "landlock";
        assert!(is_optional || feature["enforced"] == true, "{feature}");
    }
    assert_eq!(reply["features"].as_array().unwrap().len(), 16);
    assert!(platform.events.is_empty());
}

fn burst(platform: &mut Platform) {
    let mut sandboxes: Vec<_> = (0..40).map(|n| platform.spawn(&format!("i-{n}"), "wait")).collect();
    sandboxes.iter_mut().for_each(|sandbox| sandbox.wait_for(b'r'));
    let mut times: Vec<u128> = Vec::new();
    for n in 0..40 {
        platform.must("kill", json!({ "instance": format!("i-{n}") }));
    }
    for n in 0..40 {
        let before = Instant::now();
        let mut sandbox = platform.spawn(&format!("j-{n}"), "wait");
        sandbox.wait_for(b'r');
        times.push(before.elapsed().as_micros());
        platform.must("kill", json!({ "instance": format!("j-{n}") }));
    }
    times.sort_unstable();
    println!("        spawn to first byte: median {} us, best {} us", times[20], times[0]);
    assert_eq!(platform.must("list", json!({}))["instances"], json!([]));
}

fn unprivileged(platform: &mut Platform) {
    let reply = platform.ask("probe", json!({}));
    if reply["ok"] == false {
        assert_eq!(reply["step"], "private_root", "{reply}");
        return println!("        no user namespaces here: {}", reply["error"]);
    }
    assert_eq!(reply["root"], false);
    let enforced = |name: &str| {
        reply["features"].as_array().unwrap().iter().any(|item| item["feature"] == name && item["enforced"] == true)
    };
    for name in
        ["pid_ns", "mount_ns", "net_ns", "user_ns", "private_root", "no_capabilities", "no_new_privs", "seccomp"]
    {
        assert!(enforced(name), "{name}: {reply}");
    }
    assert!(!enforced("own_uid"));
    platform.write("code/index.txt", "my code");
    let mut sandbox = platform.spawn("i-1", "read");
    sandbox.wait_for(b'e');
    platform.must("bind", platform.bind_fields("i-1"));
    sandbox.tell();
    assert_eq!(sandbox.rest(), "my code  EROFS ENOENT EROFS\n");
}

// ---- inside a sandbox

fn errno_name(errno: i32) -> String {
    let names = [(0, "0"), (libc::EPERM, "EPERM"), (libc::ENOENT, "ENOENT"), (libc::EACCES, "EACCES")];
    let more = [(libc::EROFS, "EROFS"), (libc::ENOSYS, "ENOSYS"), (libc::ENOSPC, "ENOSPC"), (libc::EAGAIN, "EAGAIN")];
    let found = names.iter().chain(&more).find(|(number, _)| *number == errno);
    found.map_or_else(|| errno.to_string(), |(_, name)| (*name).to_string())
}

fn outcome<T>(result: std::io::Result<T>) -> String {
    errno_name(result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1)))
}

fn report(byte: u8) {
    // SAFETY: descriptor 3 is the runtime's channel; the buffer is one byte.
    assert_eq!(unsafe { libc::write(3, [byte].as_ptr().cast(), 1) }, 1);
}

fn await_word() {
    // SAFETY: as in `report`.
    assert_eq!(unsafe { libc::read(3, [0u8].as_mut_ptr().cast(), 1) }, 1);
}

fn inside(what: &str) {
    match what {
        "hello" => println!("hello"),
        "look" => look(),
        "deny" => deny(),
        "fork" => {
            let mut count = 0;
            // SAFETY: the child only waits for its end; this program has one thread.
            while unsafe { libc::fork() } > 0 {
                count += 1;
            }
            // A child gets here too, with fork's 0.
            if std::process::id() == 2 {
                println!("{count}");
            } else {
                std::thread::sleep(Duration::from_secs(60));
            }
        }
        "eat" => eat(),
        "eat in child" => {
            // SAFETY: this program has one thread.
            let child = unsafe { libc::fork() };
            if child == 0 {
                eat();
            }
            // SAFETY: null asks for no status.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            report(b'k');
            await_word();
        }
        "fill" => {
            fill();
            report(b'f');
            await_word();
            fill();
        }
        "read" => {
            assert_eq!(fs::read_dir("/var/task").unwrap().count(), 0);
            report(b'e');
            await_word();
            let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
            let write = |path: &str| outcome(fs::write(path, "x"));
            println!(
                "{} {} {} {} {}",
                text("/var/task/index.txt"),
                text("/var/cache/hearth/index.bin"),
                write("/var/task/x"),
                // SAFETY: the path is NUL-terminated.
                outcome(check(
                    unsafe { libc::chmod(b"/var/cache/hearth/index.bin\0".as_ptr().cast::<libc::c_char>(), 0o777) }
                        .into()
                )),
                write("/var/task/index.txt"),
            );
        }
        "read layers" => {
            await_word();
            let text = |name: &str| fs::read_to_string(format!("/opt/{name}")).unwrap();
            println!("{} {} {}", text("a"), text("b"), outcome(fs::write("/opt/x", "x")));
        }
        "tick" => loop {
            report(b't');
            std::thread::sleep(Duration::from_millis(5));
        },
        "grandchild" => {
            let script = "sleep 13579.246 & exec sleep 60";
            Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            report(b'g');
            std::thread::sleep(Duration::from_secs(60));
        }
        "abort" => std::process::abort(),
        "leave a child" => {
            Command::new("/bin/sleep").arg("60").spawn().unwrap();
            println!("left");
        }
        "write on demand" => loop {
            await_word();
            print!("{}", "x".repeat(1000));
            std::io::stdout().flush().unwrap();
            report(b'w');
        },
        "flood" => {
            let block = vec![b'y'; 100_000];
            for _ in 0..500 {
                std::io::stdout().write_all(&block).unwrap();
            }
        }
        "call" => call(),
        "wait" => {
            report(b'r');
            std::thread::sleep(Duration::from_secs(60));
        }
        "wait stubbornly" => {
            // SAFETY: SIG_IGN is a valid handler.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            report(b'r');
            std::thread::sleep(Duration::from_secs(60));
        }
        other => std::process::exit(other.strip_prefix("exit ").unwrap().parse().unwrap()),
    }
}

fn look() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("?").trim().to_string()
    };
    let id = |name: &str| field(name).split_whitespace().next().unwrap().parse::<u32>().unwrap();
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    // Before anything else is opened.
    let fds: Vec<String> = (0..20).filter(|fd| is_open(*fd)).map(|fd| fd.to_string()).collect();
    let cgroups: std::collections::BTreeSet<String> = fs::read_to_string("/proc/self/cgroup")
        .unwrap()
        .lines()
        .map(|line| line.splitn(3, ':').nth(2).unwrap().to_string())
        .collect();
    let interfaces: Vec<String> = fs::read_to_string("/proc/net/dev")
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_string()))
        .collect();
    let try_all = |paths: &[&str], attempt: &dyn Fn(&str) -> String| -> Value {
        paths.iter().map(|path| (path.to_string(), json!(attempt(path)))).collect()
    };
    let writes = [
        "/x",
        "/usr/x",
        "/etc/x",
        "/var/x",
        "/var/task/x",
        "/dev/x",
        "/proc/sys/kernel/hostname",
        "/tmp/x",
        "/dev/shm/x",
    ];
    let reads =
        ["/etc/shadow", "/proc/1/environ", "/proc/keys", "/sys/kernel", "/root", "/home", "/dev/kmsg", "/dev/mem"];
    let mut core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: `core` lives over the call.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut core) };
    let found = json!({
        "uid": id("Uid"), "gid": id("Gid"), "groups": field("Groups"), "pid": std::process::id(),
        "hostname": fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(),
        "cwd": std::env::current_dir().unwrap(),
        "caps": [field("CapInh"), field("CapPrm"), field("CapEff"), field("CapBnd"), field("CapAmb")],
        "noNewPrivs": field("NoNewPrivs"), "seccomp": field("Seccomp"),
        "pids": names("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok()).collect::<Vec<_>>(),
        "fds": fds, "interfaces": interfaces, "mnt": names("/mnt"), "core": core.rlim_max,
        "cgroups": cgroups.into_iter().collect::<Vec<_>>().join(" "),
        "writes": try_all(&writes, &|path| outcome(fs::write(path, "x"))),
        "reads": try_all(&reads, &|path| outcome(fs::metadata(path).and_then(|found| if found.is_dir() { Ok(vec![]) } else { fs::read(path) }))),
    });
    println!("{found}");
}

fn is_open(fd: i32) -> bool {
    // SAFETY: takes plain numbers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

fn check(result: libc::c_long) -> std::io::Result<()> {
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn deny() {
    let null = 0usize;
    let none = b"none\0".as_ptr().cast::<libc::c_char>();
    let tmp = b"/tmp\0".as_ptr().cast::<libc::c_char>();
    let newuser = libc::CLONE_NEWUSER as libc::c_long;
    let time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: each call is denied before it looks at its arguments, which are valid all the same.
    let found = unsafe {
        json!({
            "mount": outcome(check(libc::syscall(libc::SYS_mount, none, tmp, none, 0, null))),
            "umount": outcome(check(libc::syscall(libc::SYS_umount2, tmp, 0))),
            "fsopen": outcome(check(libc::syscall(libc::SYS_fsopen, none, 0))),
            "open_tree": outcome(check(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, tmp, 1))),
            "pivot_root": outcome(check(libc::syscall(libc::SYS_pivot_root, tmp, tmp))),
            "chroot": outcome(check(libc::syscall(libc::SYS_chroot, tmp))),
            "unshare": outcome(check(libc::syscall(libc::SYS_unshare, newuser))),
            "setns": outcome(check(libc::syscall(libc::SYS_setns, 0, 0))),
            "clone newuser": outcome(check(libc::syscall(libc::SYS_clone, newuser | 17, 0, 0, 0, 0))),
            "clone3": outcome(check(libc::syscall(libc::SYS_clone3, null, 0))),
            "ptrace": outcome(check(libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1, 0, 0))),
            "bpf": outcome(check(libc::syscall(libc::SYS_bpf, 0, null, 0))),
            "keyctl": outcome(check(libc::syscall(libc::SYS_keyctl, 0, 0, 0, 0, 0))),
            "io_uring": outcome(check(libc::syscall(libc::SYS_io_uring_setup, 1, null))),
            "perf": outcome(check(libc::syscall(libc::SYS_perf_event_open, null, 0, -1, -1, 0))),
            "settime": outcome(check(libc::syscall(libc::SYS_clock_settime, 0, &time))),
            "setuid 0": outcome(check(libc::setuid(0).into())),
            "kill supervisor": outcome(check(libc::kill(1, 9).into())),
            "mknod": outcome(check(libc::mknod(b"/tmp/disk\0".as_ptr().cast::<libc::c_char>(), libc::S_IFBLK | 0o600, libc::makedev(254, 0)).into())),
            "socket raw": outcome(check(libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP).into())),
            "socket packet": outcome(check(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).into())),
            "socket vsock": outcome(check(libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).into())),
            "socket netfilter": outcome(check(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 12).into())),
            "socket unix": outcome(check(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into())),
            "socket inet": outcome(check(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into())),
            "thread": std::thread::spawn(|| "0").join().unwrap(),
        })
    };
    println!("{found}");
}

fn eat() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 1 << 20]);
    }
}

fn fill() {
    let mut file = fs::OpenOptions::new().create(true).append(true).open("/tmp/fill").unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[1u8; 4096]) {
            break error;
        }
    };
    println!("{} {}", file.metadata().unwrap().len(), errno_name(error.raw_os_error().unwrap()));
}

fn call() {
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut socket = TcpStream::connect("127.0.0.1:9010").unwrap();
    let mut writer = socket.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    socket.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    println!("{} {}", got.len(), if got == sent { "same" } else { "different" });
}
