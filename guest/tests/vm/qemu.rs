//! The real QEMU, without a guest: its firmware alone runs, which is enough to save and restore.

use crate::spawn::VM_UID;
use crate::support::Platform;
use crate::QEMU;
use serde_json::{json, Value};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

struct Qmp(BufReader<UnixStream>);

impl Qmp {
    fn connect(path: &str) -> Qmp {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut qmp = Qmp(BufReader::new(stream));
        assert!(qmp.line().get("QMP").is_some());
        qmp.execute("qmp_capabilities", json!({}));
        let on = |name: &str| json!({ "capability": name, "state": true });
        qmp.execute("migrate-set-capabilities", json!({ "capabilities": [on("x-ignore-shared"), on("events")] }));
        qmp
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: \"{line}\""))
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.0.get_mut(), "{request}").unwrap();
        loop {
            let line = self.line();
            if line.get("event").is_none() {
                assert!(line.get("error").is_none(), "{command}: {line}");
                return line["return"].clone();
            }
        }
    }

    fn wait_for(&mut self, event: &str) {
        while self.line()["event"] != event {}
    }
}

fn start(platform: &mut Platform, id: &str, share: &str, file: Value, memory: Value, more: &[&str]) -> Qmp {
    let machine = "microvm,acpi=off,x-option-roms=off,isa-serial=off,memory-backend=ram0";
    let object = format!("memory-backend-file,id=ram0,size=64M,mem-path=/proc/self/fd/5,share={share}");
    let mut argv =
        vec!["-nodefaults", "-no-user-config", "-display", "none", "-M", machine, "-cpu", "max", "-accel", "tcg"];
    argv.extend(["-m", "64", "-object", &object, "-chardev", "socket,id=qmp,fd=3,server=on,wait=off"]);
    argv.extend(["-mon", "chardev=qmp,mode=control", "-sandbox"]);
    argv.push("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    argv.extend(more);
    let socket = format!("{}/run/{id}.qmp", platform.folder);
    let fields = json!({
        "instance": id, "uid": VM_UID, "program": QEMU, "argv": argv, "listen": [{ "path": socket }],
        "files": [file], "memory": memory, "hasTap": false, "memoryMib": 256, "cpuShare": 1024, "pidsMax": 64,
    });
    let started = Instant::now();
    platform.must("vm_spawn", fields);
    let qmp = Qmp::connect(&socket);
    println!("        {id}: QMP up after {} ms", started.elapsed().as_millis());
    qmp
}

pub fn snapshot(platform: &mut Platform) {
    if fs::metadata(QEMU).is_err() {
        return println!("        skipped: {QEMU} is not installed");
    }
    let inside = |name: &str| format!("{}/run/{name}", platform.folder);
    let (ram, state, receiver) = (inside("ram"), inside("state"), inside("receiver"));
    let listener = UnixListener::bind(&receiver).unwrap();
    let file = json!({ "path": receiver, "access": "connect" });
    let mut qmp = start(platform, "v-1", "on", file, json!({ "create": ram, "mib": 64 }), &[]);
    qmp.execute("migrate", json!({ "uri": "unix:/proc/self/fd/4" }));
    let mut bytes = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
    while qmp.execute("query-migrate", json!({}))["status"] != "completed" {}
    platform.must("kill", json!({ "instance": "v-1" }));
    fs::write(&state, &bytes).unwrap();
    platform.must("vm_template", json!({ "name": "t", "path": ram }));
    for id in ["v-2", "v-3"] {
        let started = Instant::now();
        let file = json!({ "path": state, "access": "read" });
        let mut clone = start(platform, id, "off", file, json!({ "template": "t" }), &["-incoming", "defer"]);
        clone.execute("migrate-incoming", json!({ "uri": "fd:4" }));
        clone.wait_for("RESUME");
        assert_eq!(clone.execute("query-status", json!({}))["status"], "running");
        println!("        {id}: running after {} ms, {} bytes of state", started.elapsed().as_millis(), bytes.len());
        let killed = platform.must("kill", json!({ "instance": id }));
        assert_eq!((&killed["signal"], &killed["stderr"]), (&json!("SIGKILL"), &json!("")));
    }
}
