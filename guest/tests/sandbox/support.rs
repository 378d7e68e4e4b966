//! The platform's side of the launcher protocol, for tests: blocking, one request at a time.

use serde_json::{json, Value};
use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

pub const HELLO: u8 = 1;
pub const DATA: u8 = 7;
pub const CREDIT: u8 = 8;
pub const END: u8 = 9;
pub const LOG: u8 = 12;
pub const OPEN: u8 = 13;
pub const PING: u8 = 15;
pub const SHUTDOWN: u8 = 19;

pub struct Platform {
    control: UnixStream,
    unread: Vec<u8>,
    last_id: u64,
    pub events: VecDeque<Value>,
    pub folder: String,
    pub tester: String,
}

pub struct Sandbox {
    pub id: String,
    pub pid: i32,
    pub runtime: UnixStream,
    pub supervisor: UnixStream,
    unread: Vec<u8>,
}

impl Platform {
    /// Takes over descriptor 3. `folder` is the state folder.
    pub fn new(folder: &str) -> Platform {
        // SAFETY: the launcher gave us descriptor 3, and nobody else here uses it.
        let control = unsafe { UnixStream::from_raw_fd(3) };
        control.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let tester = std::env::current_exe().unwrap().to_string_lossy().into_owned();
        for name in ["run", "etc", "code", "layer1", "layer2"] {
            fs::create_dir_all(format!("{folder}/{name}")).unwrap();
        }
        Platform {
            control,
            unread: Vec::new(),
            last_id: 0,
            events: VecDeque::new(),
            folder: folder.to_string(),
            tester,
        }
    }

    fn line(&mut self) -> Value {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let mut buffer = [0u8; 4096];
            let count = self.control.read(&mut buffer).expect("the launcher answers in 20 s");
            assert!(count > 0, "the launcher closed the socket");
            self.unread.extend_from_slice(&buffer[..count]);
        }
    }

    pub fn ask(&mut self, verb: &str, mut fields: Value) -> Value {
        self.last_id += 1;
        fields["id"] = json!(self.last_id);
        fields["verb"] = json!(verb);
        self.control.write_all(format!("{fields}\n").as_bytes()).unwrap();
        loop {
            let line = self.line();
            if line["id"] == json!(self.last_id) {
                return line;
            }
            self.events.push_back(line);
        }
    }

    /// The reply to one of those that `send` sent; what else comes meanwhile is kept for `event`.
    pub fn reply(&mut self, id: u64) -> Value {
        if let Some(at) = self.events.iter().position(|line| line["id"] == json!(id)) {
            return self.events.remove(at).unwrap();
        }
        loop {
            let line = self.line();
            if line["id"] == json!(id) {
                return line;
            }
            self.events.push_back(line);
        }
    }

    /// Sends requests in one write, without waiting; returns their ids.
    pub fn send(&mut self, requests: Vec<(&str, Value)>) -> Vec<u64> {
        let mut text = String::new();
        let mut ids = Vec::new();
        for (verb, mut fields) in requests {
            self.last_id += 1;
            fields["id"] = json!(self.last_id);
            fields["verb"] = json!(verb);
            text.push_str(&format!("{fields}\n"));
            ids.push(self.last_id);
        }
        self.control.write_all(text.as_bytes()).unwrap();
        ids
    }

    /// The reply, which must be good.
    pub fn must(&mut self, verb: &str, fields: Value) -> Value {
        let reply = self.ask(verb, fields);
        assert_eq!(reply["ok"], true, "{verb}: {reply}");
        reply
    }

    /// The next line: an event, or a reply to what `send` sent.
    pub fn event(&mut self) -> Value {
        match self.events.pop_front() {
            Some(event) => event,
            None => self.line(),
        }
    }

    pub fn spawn_fields(&self, id: &str, argv: &[&str]) -> Value {
        json!({
            "instance": id,
            "channel": format!("{}/run/{id}.r", self.folder),
            "supervisor": format!("{}/run/{id}.s", self.folder),
            "uid": 70_001, "argv": argv, "env": { "HEARTH_EPOCH": "e-1", "PATH": "/usr/bin:/bin" },
            "binds": [{ "source": self.tester, "target": "/tester" }],
            "etc": format!("{}/etc", self.folder), "pidsMax": 32, "memoryMib": 64, "tmpMib": 8,
        })
    }

    pub fn listen(&self, id: &str) -> (UnixListener, UnixListener) {
        let listen = |end: &str| {
            let path = format!("{}/run/{id}.{end}", self.folder);
            let _ = fs::remove_file(&path);
            UnixListener::bind(path).unwrap()
        };
        (listen("r"), listen("s"))
    }

    /// A sandbox whose runtime is this test program, doing `inside` (see `inside` in sandbox.rs).
    pub fn spawn(&mut self, id: &str, inside: &str) -> Sandbox {
        let fields = self.spawn_fields(id, &["/tester", "inside", inside]);
        self.spawn_with(id, fields)
    }

    pub fn spawn_with(&mut self, id: &str, fields: Value) -> Sandbox {
        let (runtime, supervisor) = self.listen(id);
        let reply = self.must("spawn", fields);
        let (runtime, supervisor) = (runtime.accept().unwrap().0, supervisor.accept().unwrap().0);
        for stream in [&runtime, &supervisor] {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        let pid = reply["pid"].as_i64().unwrap() as i32;
        let mut sandbox = Sandbox { id: id.to_string(), pid, runtime, supervisor, unread: Vec::new() };
        let (kind, _, _, hello) = sandbox.frame().unwrap();
        let hello: Value = serde_json::from_slice(&hello).unwrap();
        assert_eq!((kind, &hello["role"], &hello["epoch"]), (HELLO, &json!("supervisor"), &json!("e-1")));
        sandbox
    }

    /// Spawns, lets it run to its end, and returns what it wrote to stdout and how it ended.
    pub fn run(&mut self, id: &str, inside: &str) -> (String, Value) {
        let mut sandbox = self.spawn(id, inside);
        let text = sandbox.rest();
        let event = self.event();
        assert_eq!((&event["event"], &event["instance"]), (&json!("exited"), &json!(id)));
        (text, event)
    }

    pub fn bind_fields(&self, id: &str) -> Value {
        json!({
            "instance": id, "code": format!("{}/code", self.folder), "cache": null, "layers": [],
            "memoryMib": 96, "cpuShare": 512, "tmpMib": 4, "network": "none", "resolver": null,
        })
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = format!("{}/{path}", self.folder);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

impl Sandbox {
    /// Next frame of the supervisor's channel as (type, flags, stream, payload); None at its end.
    pub fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            if let Some(header) = self.unread.get(..12) {
                let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
                let (kind, flags, stream, length) = (header[0], header[1], number(4), number(8) as usize);
                if self.unread.len() >= 12 + length {
                    let payload = self.unread[12..12 + length].to_vec();
                    self.unread.drain(..12 + length);
                    return Some((kind, flags, stream, payload));
                }
            }
            let mut buffer = vec![0u8; 65_536];
            match self.supervisor.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing from sandbox {}: {error}", self.id),
            }
        }
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = vec![kind, flags, 0, 0];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        frame.extend_from_slice(payload);
        self.supervisor.write_all(&frame).unwrap();
    }

    /// Everything it still writes to stdout, to its end.
    pub fn rest(&mut self) -> String {
        let mut text = Vec::new();
        while let Some((kind, flags, _, payload)) = self.frame() {
            if kind == LOG && flags == 1 {
                text.extend_from_slice(&payload);
            }
        }
        String::from_utf8(text).unwrap()
    }

    /// One byte from the runtime's own channel: it has come so far.
    pub fn wait_for(&mut self, wanted: u8) {
        let mut byte = [0u8];
        self.runtime.read_exact(&mut byte).unwrap();
        assert_eq!(byte[0] as char, wanted as char);
    }

    /// Throws away what it has written so far, and waits for one more byte: it runs.
    pub fn tick_anew(&mut self) {
        self.runtime.set_nonblocking(true).unwrap();
        while self.runtime.read(&mut [0u8; 4096]).is_ok_and(|count| count > 0) {}
        self.runtime.set_nonblocking(false).unwrap();
        self.wait_for(b't');
    }

    pub fn tell(&mut self) {
        self.runtime.write_all(b"!").unwrap();
    }
}

/// Waits until `is_true`; panics with `what` after 5 s.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !is_true() {
        assert!(Instant::now() < deadline, "{what} did not happen in 5 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Pids of the machine whose command line holds `marker`.
pub fn processes_with(marker: &str) -> Vec<i32> {
    let has_marker = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(marker)
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(has_marker).collect()
}
