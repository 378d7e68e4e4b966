//! vm_spawn, kill, exited, stats, list.

use crate::support::{eventually, processes_with, Platform};
use serde_json::{json, Value};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

pub const VM_UID: u32 = 71_001;

/// A dummy VMM and the line to it.
pub struct Dummy {
    pub pid: i32,
    lines: BufReader<UnixStream>,
}

impl Dummy {
    pub fn ask(&mut self, line: &str) -> String {
        writeln!(self.lines.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        self.lines.read_line(&mut answer).unwrap();
        answer.trim_end().to_string()
    }
}

pub fn fields(platform: &Platform, id: &str, argv: &[&str]) -> Value {
    let argv: Vec<&str> = ["dummy"].iter().chain(argv).copied().collect();
    json!({
        "instance": id, "uid": VM_UID, "program": platform.tester, "argv": argv,
        "listen": [{ "path": format!("{}/run/{id}.sock", platform.folder) }], "files": [], "memory": null,
        "hasTap": false, "memoryMib": 64, "cpuShare": 512, "pidsMax": 32,
    })
}

pub fn spawn(platform: &mut Platform, id: &str, more: Value) -> Dummy {
    let mut all = fields(platform, id, &["serve", &format!("marker-{}", std::process::id())]);
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    let reply = platform.must("vm_spawn", all);
    connect(&format!("{}/run/{id}.sock", platform.folder), reply["pid"].as_i64().unwrap() as i32)
}

pub fn connect(path: &str, pid: i32) -> Dummy {
    // A VMM's own socket is there a moment before it listens.
    let until = Instant::now() + Duration::from_secs(10);
    let stream = loop {
        match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < until => {
                std::thread::yield_now();
            }
            connected => break connected.unwrap(),
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Dummy { pid, lines: BufReader::new(stream) }
}

pub fn confined(platform: &mut Platform) {
    let mut vm = spawn(platform, "v-1", json!({}));
    let status = vm.ask("status");
    let line = |name: &str| {
        let found = status.split('|').find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        found.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_string()
    };
    assert_eq!(line("Uid"), format!("{VM_UID}\t{VM_UID}\t{VM_UID}\t{VM_UID}"));
    assert_eq!(line("Gid"), format!("{VM_UID}\t{VM_UID}\t{VM_UID}\t{VM_UID}"));
    assert_eq!(line("Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!((line("NoNewPrivs").as_str(), line("Seccomp").as_str(), line("Pid").as_str()), ("1", "2", "1"));
    // The folder it lies in and nothing else of the machine: this program needs no library.
    let top = platform.tester.split('/').nth(1).unwrap().to_string();
    let mut wanted = ["dev", "mnt", "proc", "vm", &top];
    wanted.sort_unstable();
    assert_eq!(vm.ask("ls /"), wanted.join(" "));
    assert_eq!((vm.ask("ls /dev"), vm.ask("ls /mnt")), ("null urandom".to_string(), String::new()));
    let folder = platform.tester.rsplit_once('/').unwrap().0;
    assert_eq!(vm.ask(&format!("ls {folder}")), platform.tester.rsplit_once('/').unwrap().1);
    assert_eq!(vm.ask(&format!("open {}/run", platform.folder)), format!("error {}", libc::ENOENT));
    assert_eq!(vm.ask("make /x"), format!("error {}", libc::EROFS));
    assert_eq!(vm.ask("interfaces"), "lo");
    assert_eq!(vm.ask("fds"), "0 1 2 3");
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    // The platform may not look into it; so its namespaces are as good as closed to it.
    assert_eq!(namespace(&vm.pid.to_string(), "net"), None);
    let with_kvm = spawn(platform, "v-2", json!({ "hasKvm": true })).ask("ls /dev");
    assert_eq!(with_kvm, "kvm null urandom");
}

pub fn descriptors(platform: &mut Platform) {
    platform.write("kernel", "I am a kernel");
    let run = format!("{}/run", platform.folder);
    let state = UnixListener::bind(format!("{run}/state")).unwrap();
    fs::set_permissions(format!("{run}/state"), fs::Permissions::from_mode(0o600)).unwrap();
    let listen = ["a", "b"].map(|name| json!({ "path": format!("{run}/{name}") }));
    let mut vm = spawn(
        platform,
        "v-1",
        json!({
            "listen": [{ "path": format!("{run}/v-1.sock") }, listen[0], listen[1]],
            "files": [
                { "path": format!("{}/kernel", platform.folder), "access": "read" },
                { "path": format!("{run}/drive"), "access": "write" },
                { "path": format!("{run}/state"), "access": "connect" },
            ],
            "memory": { "create": format!("{run}/ram"), "mib": 8 },
        }),
    );
    assert_eq!(vm.ask("read 6"), "I am a kernel");
    assert_eq!(vm.ask("write 6 x"), format!("error {}", libc::EBADF));
    assert_eq!(vm.ask("write 7 block"), "written");
    assert_eq!(fs::read_to_string(format!("{run}/drive")).unwrap(), "block");
    assert_eq!(vm.ask("connect 8 device-state"), "sent");
    let mut got = String::new();
    state.accept().unwrap().0.read_to_string(&mut got).unwrap();
    assert_eq!(got, "device-state");
    assert_eq!(vm.ask("reopen 9"), (8 << 20).to_string());
    assert_eq!(vm.ask("store 9 4096 snap"), "stored");
    assert_eq!(vm.ask("fds"), "0 1 2 3 4 5 6 7 8 9");
    let ram = fs::metadata(format!("{run}/ram")).unwrap();
    assert_eq!((ram.uid(), ram.gid(), ram.mode() & 0o777), (crate::UID, VM_UID, 0o660));
    platform.must("kill", json!({ "instance": "v-1" }));
    // What it made stays; nobody of its group may write to it any more.
    let ram = fs::metadata(format!("{run}/ram")).unwrap();
    assert_eq!((ram.len(), ram.mode() & 0o777), (8 << 20, 0o600));
}

pub fn sockets(platform: &mut Platform) {
    let path = format!("{}/run/v-1.sock", platform.folder);
    let mut vm = spawn(platform, "v-1", json!({}));
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (crate::UID, crate::UID, 0o600));
    // A second connection is another line to the same VMM, as an agent that came again makes it.
    drop(vm);
    vm = connect(&path, 0);
    assert!(vm.ask("status").contains("State"));
    platform.must("kill", json!({ "instance": "v-1" }));
    assert!(fs::metadata(&path).is_err());
    // A deep folder: longer than a socket's address may be.
    let deep = format!("{}/{}", platform.folder, "d".repeat(120));
    fs::create_dir(&deep).unwrap();
    platform.must("vm_spawn", {
        let mut all = fields(platform, "v-2", &["serve"]);
        all["listen"] = json!([{ "path": format!("{deep}/qmp.sock") }]);
        all
    });
    assert!(fs::metadata(format!("{deep}/qmp.sock")).is_ok());
    let mut taken = fields(platform, "v-3", &["serve"]);
    taken["listen"] = json!([{ "path": format!("{deep}/qmp.sock") }]);
    let refused = platform.ask("vm_spawn", taken);
    assert_eq!(refused["step"], "listen");
    assert!(refused["error"].as_str().unwrap().ends_with("Address already in use."), "{refused}");
    assert!(fs::metadata(format!("{deep}/qmp.sock")).is_ok(), "the socket of another VM was removed");
}

pub fn exits(platform: &mut Platform) {
    let run = |platform: &mut Platform, id: &str, argv: &[&str]| {
        platform.must("vm_spawn", fields(platform, id, argv));
        let event = platform.event();
        assert_eq!((&event["event"], &event["instance"]), (&json!("exited"), &json!(id)));
        event
    };
    let event = run(platform, "v-1", &["exit", "7"]);
    assert_eq!((&event["code"], &event["signal"], &event["oom"]), (&json!(7), &Value::Null, &json!(false)));
    assert_eq!(event["stderr"], "dummy says goodbye\n");
    let event = run(platform, "v-2", &["chatter"]);
    assert!(event["code"].is_null() && event["signal"].is_string(), "{event}");
    let words = event["stderr"].as_str().unwrap();
    assert!(words.len() == 8_192 && words.ends_with("line 19999\n"), "{}", words.len());
    let mut vm = spawn(platform, "v-3", json!({}));
    assert!(vm.ask("status").contains("State"));
    let killed = platform.must("kill", json!({ "instance": "v-3" }));
    assert_eq!((&killed["signal"], &killed["oom"], &killed["stderr"]), (&json!("SIGKILL"), &json!(false), &json!("")));
    assert_eq!(platform.event()["event"], "exited");
    let again = platform.must("kill", json!({ "instance": "v-3" }));
    assert!(again["code"].is_null() && again["signal"].is_null());
}

pub fn failures(platform: &mut Platform) {
    let folder = platform.folder.clone();
    platform.write("plain", "x");
    std::os::unix::fs::symlink("/bin/sh", format!("{folder}/link")).unwrap();
    let file = |path: &str, access: &str| json!([{ "path": path, "access": access }]);
    let inside = |name: &str| format!("{folder}/{name}");
    let below = "but it must be below a --source or --keep path.";
    let rows = [
        ("uid", json!(crate::UID), "request", "another uid than the platform's".to_string()),
        (
            "program",
            json!("/bin/sh"),
            "request",
            "Field \"program\" is \"/bin/sh\", but it must be a --vmm path.".to_string(),
        ),
        ("listen", json!([{ "path": "/tmp/hearth-x" }]), "request", below.to_string()),
        ("listen", json!([{ "path": inside("no/x") }]), "listen", "No such file or directory".to_string()),
        ("files", file("/bin/sh", "read"), "request", below.to_string()),
        ("files", file(&inside("link"), "read"), "request", below.to_string()),
        ("files", file(&inside("link"), "write"), "files", "Too many levels of symbolic links".to_string()),
        ("files", file(&inside("run"), "read"), "request", "but it must be a plain file.".to_string()),
        ("files", file(&inside("none"), "read"), "files", "No such file or directory".to_string()),
        (
            "files",
            file(&inside("plain"), "connect"),
            "request",
            "but it must be a socket of the platform's.".to_string(),
        ),
        ("memory", json!({ "create": inside("plain"), "mib": 8 }), "memory", "File exists".to_string()),
        ("memory", json!({ "template": "t" }), "request", "There is no template \"t\".".to_string()),
    ];
    for (field, value, step, text) in rows {
        let mut all = fields(platform, "v-1", &["serve"]);
        all[field] = value.clone();
        let reply = platform.ask("vm_spawn", all);
        assert_eq!((&reply["ok"], &reply["step"]), (&json!(false), &json!(step)), "{field} {value}: {reply}");
        assert!(reply["error"].as_str().unwrap().contains(&text), "{reply}");
        assert!(fs::metadata(inside("run/v-1.sock")).is_err(), "{field} {value} left a socket");
    }
    // The last step of all: what was made before goes again, the RAM file too.
    let mut all = fields(platform, "v-1", &["serve"]);
    all["memory"] = json!({ "create": inside("ram"), "mib": 8 });
    all["program"] = json!(inside("broken"));
    let reply = platform.ask("vm_spawn", all);
    assert_eq!((&reply["ok"], &reply["step"]), (&json!(false), &json!("exec")), "{reply}");
    assert!(fs::metadata(inside("run/v-1.sock")).is_err() && fs::metadata(inside("ram")).is_err());
    let twice = fields(platform, "v-2", &["serve"]);
    platform.must("vm_spawn", twice.clone());
    assert_eq!(platform.ask("vm_spawn", twice)["error"], "Instance \"v-2\" exists already.");
}

pub fn out_of_memory(platform: &mut Platform) {
    platform.must("vm_spawn", fields(platform, "v-1", &["hog"]));
    let event = platform.event();
    assert_eq!((&event["signal"], &event["oom"]), (&json!("SIGKILL"), &json!(true)), "{event}");
}

pub fn counted(platform: &mut Platform) {
    let vm = spawn(platform, "v-1", json!({}));
    let list = platform.must("list", json!({}));
    let expected = json!([{ "instance": "v-1", "pid": vm.pid, "uid": VM_UID, "kind": "vm", "isAdopted": true }]);
    assert_eq!(list["instances"], expected);
    let stats = platform.must("stats", json!({ "instance": "v-1" }));
    assert!(stats["memoryBytes"].as_u64().unwrap() > 0 && stats["pids"] == 1, "{stats}");
    assert!(stats["cpuMs"].is_u64() && stats["oomKills"] == 0, "{stats}");
    let refused = platform.ask("bind", platform.bind_fields("v-1"));
    assert_eq!(refused["error"], "There is no instance \"v-1\".");
    platform.must("kill", json!({ "instance": "v-1" }));
    assert_eq!(platform.must("list", json!({}))["instances"], json!([]));
    assert_eq!(platform.ask("stats", json!({ "instance": "v-1" }))["ok"], false);
}

pub fn fifty(platform: &mut Platform) {
    let marker = format!("marker-{}", std::process::id());
    let mut times: Vec<u128> = Vec::new();
    let mut all: Vec<Dummy> = (0..50)
        .map(|number| {
            let before = std::time::Instant::now();
            let mut vm = spawn(platform, &format!("v-{number}"), json!({ "uid": 71_000 + number }));
            assert!(!vm.ask("fds").is_empty());
            times.push(before.elapsed().as_micros());
            vm
        })
        .collect();
    times.sort_unstable();
    println!("        spawn to first answer: median {} us, best {} us", times[25], times[0]);
    assert_eq!(processes_with(&marker).len(), 50);
    for number in 0..50 {
        platform.must("kill", json!({ "instance": format!("v-{number}") }));
    }
    all.clear();
    assert!(processes_with(&marker).is_empty());
    eventually("the sockets' end", || fs::read_dir(format!("{}/run", platform.folder)).unwrap().count() == 0);
}
