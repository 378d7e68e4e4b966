//! The host's end of a bridge, for tests.

use crate::wire::{self, Decoder, Frame};
use serde_json::{json, Value};
use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(20);

/// Folders that a bridge sees as /var/task and /opt.
pub struct World {
    pub folder: String,
}

impl World {
    /// None where namespaces cannot be made.
    pub fn new() -> Option<World> {
        // SAFETY: takes nothing.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: needs root, to give the bridge a network and folders of its own");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("{}/hearth-bridge-{}-{number}", std::env::temp_dir().display(), std::process::id());
        for name in ["task", "opt/extensions", "out"] {
            fs::create_dir_all(format!("{folder}/{name}")).unwrap();
        }
        Some(World { folder })
    }

    /// `path` is below `task` or `opt`.
    pub fn file(&self, path: &str, content: &str, mode: u32) -> &World {
        let path = format!("{}/{path}", self.folder);
        fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// A program for contract runtime-api: `body` has `next()`, `post(path, body, headers)` and `context`.
    pub fn bootstrap(&self, body: &str) -> &World {
        self.file("task/bootstrap", &format!("{PRELUDE}\n{body}"), 0o755)
    }

    pub fn out(&self, name: &str) -> String {
        fs::read_to_string(format!("{}/out/{name}", self.folder)).unwrap_or_default()
    }

    pub fn boot(&self) -> Bridge {
        Bridge::boot(self)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A Runtime API client over one kept connection.
const PRELUDE: &str = r#"#!/usr/bin/env python3
import http.client, json, os, sys
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
BASE = '/2018-06-01/runtime/'
def call(method, path, body=None, headers={}):
    api.request(method, path, body, headers)
    answer = api.getresponse()
    return answer, answer.read()
def next_event():
    answer, event = call('GET', BASE + 'invocation/next')
    return answer.getheader('Lambda-Runtime-Aws-Request-Id'), event, answer
def post(path, body, headers={}):
    answer, text = call('POST', BASE + path, body, headers)
    return answer.status, text
def say(name, text):
    with open('/var/out/' + name, 'a') as file: file.write(text)
"#;

pub struct Bridge {
    pub child: Child,
    channel: UnixStream,
    decoder: Decoder,
    frames: VecDeque<Frame>,
    last_stream: u32,
}

/// What one invocation came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub head: Option<Value>,
    pub body: Vec<u8>,
    pub failure: Option<Value>,
    pub flags: u8,
}

impl Outcome {
    pub fn text(&self) -> String {
        assert_eq!(self.failure, None);
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn error(&self) -> (String, String) {
        let failure = self.failure.as_ref().unwrap_or_else(|| panic!("no failure: {self:?}"));
        let text = |name: &str| failure[name].as_str().unwrap().to_string();
        (text("errorType"), text("errorMessage"))
    }
}

impl Bridge {
    fn boot(world: &World) -> Bridge {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(WAIT)).unwrap();
        let folder = &world.folder;
        let script = format!(
            "ip link set lo up && mount --make-rprivate / && mount -t tmpfs none /var && mkdir /var/task /var/out && \
             mount --bind {folder}/task /var/task && mount --bind {folder}/out /var/out && \
             mount --bind {folder}/opt /opt && exec {} bridge",
            env!("CARGO_BIN_EXE_hearth-guest"),
        );
        let theirs = OwnedFd::from(theirs);
        let fd = theirs.as_raw_fd();
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", &script]).env_clear().stdin(Stdio::null());
        command.envs([
            ("HEARTH_EPOCH", "epoch-1"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
            ("HOME", "/tmp"),
        ]);
        // SAFETY: dup2 and fcntl alone are called, which a fork may.
        unsafe {
            command.pre_exec(move || {
                if libc::dup2(fd, 3) < 0 || libc::fcntl(3, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop(theirs);
        let mut bridge = Bridge {
            child,
            channel: ours,
            decoder: Decoder::default(),
            frames: VecDeque::new(),
            last_stream: u32::MAX,
        };
        let hello = bridge.expect(wire::HELLO);
        assert_eq!(
            (&hello["role"], &hello["runtime"], &hello["epoch"]),
            (&json!("runtime"), &json!("bridge"), &json!("epoch-1"))
        );
        bridge.send(wire::CONFIGURE, 0, 0, br#"{"instance":"i","nowMs":0,"logBytesPerSecond":1}"#);
        bridge
    }

    pub fn bind(&mut self, changes: Value) {
        let bytes = bind_message(&changes).to_string();
        self.send(wire::BIND, 0, 0, bytes.as_bytes());
    }

    /// Bound and READY, or the failure that came instead.
    pub fn start(&mut self, changes: Value) -> Result<(), Value> {
        self.bind(changes);
        let frame = self.next();
        match frame.kind {
            wire::READY => Ok(()),
            wire::FAIL if frame.stream == 0 => Err(parse(&frame)),
            other => panic!("frame {other} instead of READY"),
        }
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        wire::encode(&mut bytes, kind, flags, stream, payload);
        self.channel.write_all(&bytes).unwrap();
    }

    /// As after a restore.
    pub fn restart_streams(&mut self) {
        self.last_stream = u32::MAX;
    }

    /// Opens a stream; nothing of its body is sent.
    pub fn open(&mut self, message: Value) -> u32 {
        self.last_stream = self.last_stream.wrapping_add(2);
        let mut whole = json!({ "id": format!("id-{}", self.last_stream), "deadlineMs": 9_999_999_999_999u64,
            "contentType": "application/json", "traceparent": null, "kind": "invoke" });
        for (name, value) in message.as_object().unwrap() {
            whole[name] = value.clone();
        }
        self.send(wire::INVOKE, 0, self.last_stream, whole.to_string().as_bytes());
        self.last_stream
    }

    /// INVOKE and the whole of a short event, as the host sends them.
    pub fn invoke(&mut self, event: &str) -> u32 {
        let stream = self.open(json!({}));
        self.send(wire::DATA, wire::FIN, stream, event.as_bytes());
        stream
    }

    pub fn call(&mut self, event: &str) -> Outcome {
        let stream = self.invoke(event);
        self.outcome(stream)
    }

    /// Everything of `stream` until its end, giving credit for all that comes.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let frame = self.next_of(stream);
            match frame.kind {
                wire::HEAD => outcome.head = Some(parse(&frame)),
                wire::DATA => {
                    outcome.body.extend_from_slice(&frame.payload);
                    if frame.flags == 0 {
                        self.send(wire::CREDIT, 0, stream, &(frame.payload.len() as u32).to_be_bytes());
                    }
                }
                wire::FAIL => outcome.failure = Some(parse(&frame)),
                wire::CREDIT => continue,
                wire::END => {}
                other => panic!("frame {other}"),
            }
            let is_last = frame.flags & wire::FIN != 0 || matches!(frame.kind, wire::END | wire::FAIL);
            if is_last {
                return Outcome { flags: frame.flags, ..outcome };
            }
        }
    }

    pub fn next_of(&mut self, stream: u32) -> Frame {
        if let Some(at) = self.frames.iter().position(|frame| frame.stream == stream) {
            return self.frames.remove(at).unwrap();
        }
        loop {
            let frame = self.read().expect("the channel ended");
            if frame.stream == stream {
                return frame;
            }
            self.frames.push_back(frame);
        }
    }

    pub fn next(&mut self) -> Frame {
        self.frames.pop_front().or_else(|| self.read()).expect("the channel ended")
    }

    /// The next frame is of this type; its JSON.
    pub fn expect(&mut self, kind: u8) -> Value {
        let frame = self.next();
        assert_eq!(frame.kind, kind, "{}", String::from_utf8_lossy(&frame.payload));
        parse(&frame)
    }

    /// Whether nothing comes within `ms`.
    pub fn is_silent(&mut self, ms: u64) -> bool {
        self.channel.set_read_timeout(Some(Duration::from_millis(ms))).unwrap();
        let mut byte = [0u8; 1];
        let is_silent = self.frames.is_empty()
            && matches!((&self.channel).read(&mut byte), Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.channel.set_read_timeout(Some(WAIT)).unwrap();
        is_silent
    }

    fn read(&mut self) -> Option<Frame> {
        let mut buffer = [0u8; 65_536];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            match self.channel.read(&mut buffer).expect("nothing came") {
                0 => return None,
                count => self.decoder.push(&buffer[..count]),
            }
        }
    }

    /// How the bridge ended: code, or signal as a negative number.
    pub fn ended(&mut self) -> i32 {
        let status = self.child.wait().unwrap();
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }

    /// Memory that is its own: what it maps of the program's file every other shares.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn bind_message(changes: &Value) -> Value {
    let mut message = json!({
        "function": "f", "version": "3", "project": "default", "handler": "index.handler", "memoryMib": 256, "timeoutMs": 30_000,
        "env": {}, "taskRoot": "/var/task", "cacheRoot": null, "apiUrl": "http://127.0.0.1:9010", "region": "local",
        "accountId": "000000000000", "logGroup": "/hearth/f", "logStream": "s", "purpose": "serve", "contract": "runtime-api",
        "command": [], "port": 8080,
    });
    for (name, value) in changes.as_object().unwrap() {
        message[name] = value.clone();
    }
    message
}

fn parse(frame: &Frame) -> Value {
    if frame.payload.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&frame.payload).unwrap()
}
