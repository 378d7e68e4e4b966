//! What a sandbox can see and do.

use crate::inside;
use crate::machine::OWN_NICE;
use crate::support::Platform;
use crate::UID;
use serde_json::{json, Value};

pub fn isolated(platform: &mut Platform) {
    let (text, event) = platform.run("i-1", "look");
    assert_eq!(event, json!({ "event": "exited", "instance": "i-1", "code": 0, "signal": null, "oom": false }));
    let found: Value = serde_json::from_str(&text).unwrap();
    let own: i32 = std::env::var(OWN_NICE).unwrap().parse().unwrap();
    assert_eq!(inside::nice(), own.min(-5), "the platform goes before functions");
    let wanted = json!({
        "uid": 70_001, "gid": 70_001, "pid": 2, "hostname": "hearth", "cwd": "/var/task",
        "caps": ["0000000000000000", "0000000000000000", "0000000000000000", "0000000000000000", "0000000000000000"],
        "noNewPrivs": "1", "seccomp": "2", "groups": "",
        "pids": ["2"], "fds": ["0", "1", "2", "3"], "interfaces": ["lo"], "nice": own, "mnt": [], "above": true, "roots": 1, "core": 0,
        "cgroups": "/", "lowPort": "0",
        "writes": { "/x": "EROFS", "/usr/x": "EROFS", "/etc/x": "EROFS", "/var/x": "EROFS", "/var/task/x": "EROFS", "/dev/x": "EROFS",
            "/proc/sys/kernel/hostname": "EROFS", "/tmp/x": "0", "/dev/shm/x": "0" },
        "reads": { "/etc/shadow": "ENOENT", "/proc/1/environ": "ENOENT", "/proc/keys": "0", "/sys/kernel": "ENOENT",
            "/root": "ENOENT", "/home": "ENOENT", "/dev/kmsg": "ENOENT", "/dev/mem": "ENOENT" },
    });
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&found[key], value, "{key}");
    }
}

pub fn denied(platform: &mut Platform) {
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

pub fn foreign_listener(platform: &mut Platform) {
    let mut fields = platform.spawn_fields("i-1", &["/tester", "inside", "hello"]);
    let path = format!("{}/root.sock", platform.folder.trim_end_matches("/state"));
    fields["channel"] = json!(path);
    let reply = platform.ask("spawn", fields);
    let wanted = format!("Socket \"{path}\" is listened on by uid 0, but it must be uid {UID}.");
    assert_eq!(reply["error"], wanted);
}

pub fn failed_spawns(platform: &mut Platform) {
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

pub fn probe(platform: &mut Platform) {
    let reply = platform.must("probe", json!({}));
    assert_eq!(reply["root"], true);
    for feature in reply["features"].as_array().unwrap() {
        let is_optional = feature["feature"] == "egress" || feature["feature"] == "landlock";
        assert!(is_optional || feature["enforced"] == true, "{feature}");
    }
    assert_eq!(reply["features"].as_array().unwrap().len(), 16);
    assert!(platform.events.is_empty());
}
