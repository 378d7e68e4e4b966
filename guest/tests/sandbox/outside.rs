//! What is watched from outside: kills of the platform and the launcher, and starts without root.

use crate::lifecycle;
use crate::machine::Machine;
use crate::support::{eventually, processes_with, Platform};
use crate::UID;
use serde_json::{json, Value};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

pub fn kept_paths() -> bool {
    let machine = Machine::new();
    fs::set_permissions(&machine.folder, fs::Permissions::from_mode(0o700)).unwrap();
    let status = machine.up("ready").wait().unwrap();
    status.success() && machine.ready().is_some()
}

pub fn platform_killed() -> bool {
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

pub fn launcher_killed() -> bool {
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

pub fn without_root() -> bool {
    let mut machine = Machine::new();
    machine.uid = UID;
    std::os::unix::fs::chown(&machine.folder, Some(UID), Some(UID)).unwrap();
    machine.up("unprivileged").wait().unwrap().success()
}

/// The cgroup v2 backend for real, without v1 beside it: what systemd's `Delegate=yes` gives a user.
pub fn delegated() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let Some(top) = mounts.lines().find_map(|line| line.split_once(" cgroup2 ")?.0.split(' ').nth(1)) else {
        println!("        no cgroup v2 is mounted here");
        return true;
    };
    let group = format!("{top}/hearthtest-{}", std::process::id());
    fs::create_dir(&group).unwrap();
    for file in ["", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"] {
        std::os::unix::fs::chown(format!("{group}{file}"), Some(UID), Some(UID)).unwrap();
    }
    let mut machine = Machine::new();
    machine.uid = UID;
    std::os::unix::fs::chown(&machine.folder, Some(UID), Some(UID)).unwrap();
    let is_good = machine.up_in(&group, "delegated").wait().unwrap().success();
    // The leaf that the launcher moved itself to, where there were controllers to hand on.
    for entry in fs::read_dir(&group).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name.ends_with("-main"), "left: {name}");
        fs::remove_dir(entry.path()).unwrap();
    }
    // The network helper ends a moment after the launcher.
    eventually("the removal of the cgroup", || fs::remove_dir(&group).is_ok());
    is_good
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

// ---- the platform's side of these

/// What the outer tests watch from outside: not a scenario of its own.
pub fn stand_in(platform: &mut Platform, what: &str) {
    let ready = format!("{}/ready", platform.folder.trim_end_matches("/state"));
    // SAFETY: cannot fail.
    assert_eq!(unsafe { libc::getuid() }, UID);
    match what {
        "unprivileged" => unprivileged(platform),
        "delegated" => {
            let reply = platform.must("probe", json!({}));
            let freezer =
                reply["features"].as_array().unwrap().iter().find(|item| item["feature"] == "freezer").unwrap();
            assert_eq!(freezer["enforced"], true, "{reply}");
            lifecycle::freeze(platform);
            let event = platform.event();
            assert_eq!(event["signal"], "SIGKILL", "{event}");
            let sandbox = platform.spawn("i-2", "wait");
            let group = fs::read_to_string(format!("/proc/{}/cgroup", sandbox.pid)).unwrap();
            assert!(group.lines().any(|line| line.starts_with("0::/hearthtest-") && line.ends_with("/i-2")), "{group}");
            platform.must("kill", json!({ "instance": "i-2" }));
        }
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
    assert_eq!(platform.event()["event"], "exited");
    let (text, _) = platform.run("i-2", "look");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["lowPort"], "0", "{text}");
}
