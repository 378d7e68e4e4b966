//! vm_jail and vm_share, with a stand-in for the jailer.

use crate::spawn::{connect, VM_UID};
use crate::support::Platform;
use serde_json::{json, Value};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

pub fn fields(platform: &Platform, id: &str) -> Value {
    let inside = |name: &str| format!("{}/{name}", platform.folder);
    json!({
        "instance": id, "uid": VM_UID, "jailer": platform.tester,
        "program": format!("{}/firecracker", platform.folder.trim_end_matches("/state")),
        "files": [
            { "path": inside("kernel"), "name": "kernel", "access": "read" },
            { "path": inside("scratch"), "name": "scratch.img", "access": "write" },
        ],
        "hasTap": true, "apiSocket": "api.sock", "memoryMib": 64, "cpuShare": 512, "pidsMax": 32,
    })
}

pub fn jailed(platform: &mut Platform) {
    platform.write("kernel", "I am a kernel");
    // For everybody to write, if it were not read-only.
    fs::set_permissions(format!("{}/kernel", platform.folder), fs::Permissions::from_mode(0o666)).unwrap();
    let reply = platform.must("vm_jail", fields(platform, "v-1"));
    let root = reply["root"].as_str().unwrap().to_string();
    assert_eq!(root, format!("{}/jails/firecracker/v-1/root", platform.folder));
    platform.must("vm_share", json!({ "instance": "v-1", "name": "api.sock" }));
    let socket = fs::metadata(format!("{root}/api.sock")).unwrap();
    assert_eq!((socket.uid(), socket.mode() & 0o777), (crate::UID, 0o600));
    assert!(fs::read_dir(&root).is_err(), "the platform may pass, not look");
    let pid = reply["pid"].as_i64().unwrap();
    let mut vm = connect(&format!("{root}/api.sock"), pid as i32);
    assert_eq!(vm.ask("ls /"), "api.sock dev firecracker kernel run scratch.img vm");
    assert_eq!(vm.ask("ls /dev"), "kvm net urandom");
    assert_eq!(vm.ask("cat /kernel"), "I am a kernel");
    assert_eq!(vm.ask("put /kernel x"), format!("error {}", libc::EROFS));
    assert_eq!(vm.ask("put /scratch.img block"), "written");
    assert_eq!(fs::read_to_string(format!("{}/scratch", platform.folder)).unwrap(), "block");
    let kernel = format!("{}/kernel", platform.folder);
    platform.must("vm_place", json!({ "instance": "v-1", "name": "code-1", "path": kernel }));
    assert_eq!(vm.ask("cat /vm/code-1"), "I am a kernel");
    assert_eq!(vm.ask("put /vm/code-1 x"), format!("error {}", libc::EROFS));
    assert_eq!(vm.ask("make /vm/own"), format!("error {}", libc::EACCES));
    assert_eq!(vm.ask("attach tap0"), "attached");
    assert_eq!(vm.ask("attach tap1"), format!("error {}", libc::EPERM));
    assert_eq!(vm.ask("limits"), format!("{} 4096 0", (64 + 64) << 20));
    // Seen from outside: who it is, and that it is where the launcher counts and limits.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in
        [&format!("Uid:\t{VM_UID}\t{VM_UID}\t{VM_UID}\t{VM_UID}"), "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for controller in ["memory", "pids"] {
        let line = groups.lines().find(|line| line.contains(controller) || line.starts_with("0::")).unwrap();
        assert!(line.contains("/hearth-") && line.ends_with("/v-1"), "{groups}");
    }
    assert!(platform.must("stats", json!({ "instance": "v-1" }))["memoryBytes"].as_u64().unwrap() > 0);
    let refused = platform.ask("vm_share", json!({ "instance": "v-1", "name": "kernel" }));
    assert_eq!(refused["error"], "Field \"name\" is \"kernel\", but it must be a socket of the VM's.");
    let killed = platform.must("kill", json!({ "instance": "v-1" }));
    assert_eq!((&killed["signal"], &killed["stderr"]), (&json!("SIGKILL"), &json!("firecracker is up\n")));
    assert!(fs::metadata(format!("{}/jails", platform.folder)).is_err());
    assert_eq!(fs::read_to_string(format!("{}/kernel", platform.folder)).unwrap(), "I am a kernel");
}

pub fn refused(platform: &mut Platform) {
    platform.write("kernel", "I am a kernel");
    let above = platform.folder.trim_end_matches("/state").to_string();
    let rows = [
        ("jailer", json!("/bin/true"), "request", "must be a --vmm path."),
        ("jailer", json!(format!("{above}/untrusted")), "request", "but it must be writable by root alone."),
        ("program", json!("/bin/true"), "request", "must be a --vmm path."),
        ("uid", json!(crate::UID), "request", "another uid than the platform's."),
        ("apiSocket", json!("../x"), "request", "not \"dev\", \"run\" or \"vm\"."),
        (
            "files",
            json!([{ "path": "/bin/sh", "name": "sh", "access": "read" }]),
            "request",
            "--source or --keep path.",
        ),
        (
            "files",
            json!([{ "path": format!("{}/none", platform.folder), "name": "n", "access": "read" }]),
            "files",
            "No such file or directory.",
        ),
    ];
    for (field, value, step, text) in rows {
        let mut all = fields(platform, "v-1");
        all[field] = value.clone();
        let reply = platform.ask("vm_jail", all);
        assert_eq!((&reply["ok"], &reply["step"]), (&json!(false), &json!(step)), "{field} {value}: {reply}");
        assert!(reply["error"].as_str().unwrap().ends_with(text), "{reply}");
        assert!(fs::metadata(format!("{}/jails", platform.folder)).is_err(), "{field} {value} left a jail");
    }
    // A jailer that refuses is an end with its words.
    let mut all = fields(platform, "v-1");
    all["program"] = json!(format!("{above}/untrusted"));
    platform.must("vm_jail", all);
    let event = platform.event();
    assert_eq!((&event["event"], &event["code"]), (&json!("exited"), &json!(1)), "{event}");
    assert!(event["stderr"].as_str().unwrap().contains("must contain 'firecracker'"), "{event}");
    assert!(fs::metadata(format!("{}/jails", platform.folder)).is_err());
    let unknown = platform.ask("vm_share", json!({ "instance": "v-1", "name": "api.sock" }));
    assert_eq!(unknown["error"], "There is no instance \"v-1\".");
    // A folder of the platform's in place of root's is not used.
    fs::create_dir(format!("{}/jails", platform.folder)).unwrap();
    let reply = platform.ask("vm_jail", fields(platform, "v-1"));
    assert_eq!((&reply["ok"], &reply["step"]), (&json!(false), &json!("jail")), "{reply}");
}
