//! The program's one loop: frames in, handler, frames out.

use crate::failure::{last_panic, watch_panics};
use crate::handler::{Answer, Executor, Handler, Parked};
use crate::wire::{self, read_frame, send_frame, Frame};
use crate::{Context, Failure, Stream};
use serde_json::{json, Value};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, process, thread};

const CHANNEL: i32 = 3;
/// The invocation that a panic belongs to, where a panic is the end of the process.
static RUNNING: AtomicU32 = AtomicU32::new(0);

extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
}
const SIGTERM: i32 = 15;

/// Serves `handler` until the host ends the program; futures run on this thread.
pub fn run<Shape>(handler: impl Handler<Shape>) -> ! {
    run_on(Parked, handler)
}

/// Serves `handler`; its futures run on `executor`.
pub fn run_on<Shape>(executor: impl Executor, handler: impl Handler<Shape>) -> ! {
    let started = Instant::now();
    let Some(facts) = env::var("HEARTH_BIND").ok().and_then(|text| serde_json::from_str(&text).ok()) else {
        eprintln!("hearth: HEARTH_BIND is not set: this program is started by Hearth, as hearth-bootstrap.");
        process::exit(1);
    };
    env::remove_var("HEARTH_BIND");
    watch_panics(|failure| {
        let stream = RUNNING.load(Ordering::Relaxed);
        if stream != 0 {
            // The process ends right after: there is nobody left to tell.
            let _ = send_frame(&mut *channel(), wire::FAIL, wire::FIN, stream, &failure.payload());
        }
    });
    let mut program = Program { channel: channel(), facts, events: HashMap::new(), aside: VecDeque::new() };
    let served = program.ready(started).and_then(|()| program.serve(&executor, &handler));
    match served {
        Ok(()) => process::exit(0),
        Err(error) => {
            eprintln!("hearth: the channel to the platform broke: {error}");
            process::exit(1);
        }
    }
}

/// Never closed: it is the program's for life.
fn channel() -> ManuallyDrop<File> {
    // SAFETY: whoever starts this program leaves the channel open at this descriptor, and nothing else here owns it.
    ManuallyDrop::new(unsafe { File::from_raw_fd(CHANNEL) })
}

/// An invocation whose event is on its way.
struct Event {
    message: Value,
    bytes: Vec<u8>,
    since_credit: usize,
}

struct Program {
    channel: ManuallyDrop<File>,
    facts: Value,
    events: HashMap<u32, Event>,
    /// Frames that came while an answer waited for credit, and are not about it.
    aside: VecDeque<Frame>,
}

impl Program {
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        send_frame(&mut *self.channel, kind, flags, stream, payload)
    }

    fn ready(&mut self, since: Instant) -> io::Result<()> {
        let text = json!({ "loadMs": since.elapsed().as_secs_f64() * 1_000.0 }).to_string();
        self.send(wire::READY, 0, 0, text.as_bytes())
    }

    fn serve<Shape>(&mut self, executor: &impl Executor, handler: &impl Handler<Shape>) -> io::Result<()> {
        loop {
            let next = match self.aside.pop_front() {
                Some(frame) => Some(frame),
                None => read_frame(&mut *self.channel)?,
            };
            let Some(frame) = next else { return Ok(()) };
            if let Some((stream, event)) = self.receive(frame)? {
                self.invoke(stream, event, executor, handler)?;
            }
        }
    }

    /// Gives the invocation whose event is whole with this frame.
    fn receive(&mut self, frame: Frame) -> io::Result<Option<(u32, Event)>> {
        match frame.kind {
            wire::INVOKE => {
                let event = Event { message: parse(&frame.payload)?, bytes: Vec::new(), since_credit: 0 };
                self.events.insert(frame.stream, event);
            }
            wire::DATA => return self.receive_data(frame),
            wire::END => return Ok(self.events.remove(&frame.stream).map(|event| (frame.stream, event))),
            wire::CANCEL => drop(self.events.remove(&frame.stream)),
            wire::PING if frame.flags == 0 => self.send(wire::PING, wire::PONG, 0, &frame.payload)?,
            wire::RESUME => self.resume(&parse(&frame.payload)?)?,
            wire::BIND => self.bind_again(parse(&frame.payload)?)?,
            wire::SHUTDOWN => shut_down(&parse(&frame.payload)?),
            // PREPARE_SNAPSHOT: nothing is held that a clone could not have. Else what a newer host may say.
            _ => {}
        }
        Ok(None)
    }

    fn receive_data(&mut self, mut frame: Frame) -> io::Result<Option<(u32, Event)>> {
        let Some(event) = self.events.get_mut(&frame.stream) else { return Ok(None) };
        event.since_credit += frame.payload.len();
        if event.bytes.is_empty() {
            event.bytes = std::mem::take(&mut frame.payload);
        } else {
            event.bytes.append(&mut frame.payload);
        }
        if frame.flags & wire::FIN != 0 {
            return Ok(self.events.remove(&frame.stream).map(|event| (frame.stream, event)));
        }
        if event.since_credit >= wire::CREDIT_STEP {
            let credit = (event.since_credit as u32).to_be_bytes();
            event.since_credit = 0;
            self.send(wire::CREDIT, 0, frame.stream, &credit)?;
        }
        Ok(None)
    }

    fn invoke<Shape>(
        &mut self,
        stream: u32,
        Event { message, bytes, .. }: Event,
        executor: &impl Executor,
        handler: &impl Handler<Shape>,
    ) -> io::Result<()> {
        if message["kind"] == "identity" {
            return self.answer(stream, Ok(Answer::Json(identity()))).map(drop);
        }
        if message["kind"] != "invoke" {
            let unknown = Failure::new("Runtime.Unsupported", "A Rust program is compiled before it is deployed.");
            return self.answer(stream, Err(unknown)).map(drop);
        }
        RUNNING.store(stream, Ordering::Relaxed);
        let context = self.context(&message);
        // The reader of a stream is the user's as well.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let result = handler.call(bytes, context, executor);
            self.answer(stream, result)
        }));
        RUNNING.store(0, Ordering::Relaxed);
        if let Ok(sent) = ran {
            return sent;
        }
        // What the program holds may be half changed: it must not go on.
        self.send(wire::FAIL, wire::FIN, stream, &last_panic().payload())?;
        process::exit(1);
    }

    fn context(&self, message: &Value) -> Context {
        let text = |of: &Value, name: &str| of[name].as_str().unwrap_or("").to_string();
        let facts = &self.facts;
        let (region, account, function) = (text(facts, "region"), text(facts, "accountId"), text(facts, "function"));
        Context {
            request_id: text(message, "id"),
            deadline_ms: message["deadlineMs"].as_f64().unwrap_or(0.0) as u64,
            invoked_function_arn: format!("arn:aws:lambda:{region}:{account}:function:{function}"),
            function_name: function,
            function_version: text(facts, "version"),
            memory_mib: facts["memoryMib"].as_u64().unwrap_or(0),
            log_group: text(facts, "logGroup"),
            log_stream: text(facts, "logStream"),
            traceparent: message["traceparent"].as_str().map(str::to_string),
            content_type: text(message, "contentType"),
        }
    }

    fn answer(&mut self, stream: u32, result: Result<Answer, Failure>) -> io::Result<()> {
        let mut credit = Credit { stream, left: wire::WINDOW, is_gone: false };
        match result {
            Err(failure) => self.send(wire::FAIL, wire::FIN, stream, &failure.payload()),
            Ok(Answer::Json(bytes)) => self.write(&mut credit, &bytes, wire::FIN),
            Ok(Answer::Bytes(bytes)) => {
                self.head(stream, "application/octet-stream")?;
                self.write(&mut credit, &bytes, wire::FIN)
            }
            Ok(Answer::Stream(Stream { content_type, mut reader })) => {
                self.head(stream, &content_type)?;
                let mut piece = vec![0; wire::PAYLOAD_MAX];
                loop {
                    match reader.read(&mut piece) {
                        Ok(0) => return self.send(wire::END, wire::FIN, stream, &[]),
                        Ok(count) => self.write(&mut credit, &piece[..count], 0)?,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => {
                            let failure = Failure::new("Runtime.StreamError", &error.to_string());
                            return self.send(wire::FAIL, wire::FIN, stream, &failure.payload());
                        }
                    }
                    if credit.is_gone {
                        return self.send(wire::END, wire::FIN, stream, &[]);
                    }
                }
            }
        }
    }

    fn head(&mut self, stream: u32, content_type: &str) -> io::Result<()> {
        let text = json!({ "status": 200, "headers": [["content-type", content_type]] }).to_string();
        self.send(wire::HEAD, 0, stream, text.as_bytes())
    }

    fn write(&mut self, credit: &mut Credit, mut bytes: &[u8], last_flags: u8) -> io::Result<()> {
        while !bytes.is_empty() && self.has_credit(credit)? {
            let (piece, rest) = bytes.split_at(bytes.len().min(wire::PAYLOAD_MAX).min(credit.left));
            credit.left -= piece.len();
            bytes = rest;
            self.send(wire::DATA, if rest.is_empty() { last_flags } else { 0 }, credit.stream, piece)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
        if last_flags == 0 {
            Ok(())
        } else {
            self.send(wire::END, last_flags, credit.stream, &[])
        }
    }

    /// Waits for credit; false once the host wants no more.
    fn has_credit(&mut self, credit: &mut Credit) -> io::Result<bool> {
        while credit.left == 0 && !credit.is_gone {
            let frame = read_frame(&mut *self.channel)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match frame.kind {
                wire::CREDIT if frame.stream == credit.stream => {
                    let [a, b, c, d] = frame.payload[..] else { return Err(io::ErrorKind::InvalidData.into()) };
                    credit.left += u32::from_be_bytes([a, b, c, d]) as usize;
                }
                wire::CANCEL if frame.stream == credit.stream => credit.is_gone = true,
                wire::PING if frame.flags == 0 => self.send(wire::PING, wire::PONG, 0, &frame.payload)?,
                kind => {
                    // Another host, or the end: nobody waits for this answer.
                    credit.is_gone |= kind == wire::RESUME || kind == wire::SHUTDOWN;
                    self.aside.push_back(frame);
                }
            }
        }
        Ok(!credit.is_gone)
    }

    /// Begins anew with another host: streams count from 1 again.
    fn resume(&mut self, message: &Value) -> io::Result<()> {
        self.events.clear();
        let epoch = &message["epoch"];
        self.send(wire::RESUMED, 0, 0, json!({ "epoch": epoch }).to_string().as_bytes())?;
        let pid = process::id();
        let hello = json!({ "protocol": 1, "role": "runtime", "epoch": epoch, "runtime": "bridge", "version": "1", "pid": pid });
        self.send(wire::HELLO, 0, 0, hello.to_string().as_bytes())
    }

    /// Sets only what a host may set anew: the code is loaded.
    fn bind_again(&mut self, message: Value) -> io::Result<()> {
        let started = Instant::now();
        if message["function"] != self.facts["function"] || message["version"] != self.facts["version"] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this program is of another function or version"));
        }
        let kept =
            ["PATH", "HOME", "TZ", "LANG", "LD_LIBRARY_PATH", "LAMBDA_RUNTIME_DIR", "AWS_LAMBDA_INITIALIZATION_TYPE"];
        for (name, _) in env::vars_os() {
            let is_kept = name.to_str().is_some_and(|name| kept.contains(&name) || name.starts_with("AWS_LAMBDA_"));
            if !is_kept {
                env::remove_var(name);
            }
        }
        let named = [
            ("LAMBDA_TASK_ROOT", "taskRoot"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "logGroup"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "logStream"),
            ("AWS_REGION", "region"),
            ("AWS_DEFAULT_REGION", "region"),
            ("HEARTH_API_URL", "apiUrl"),
            ("AWS_ENDPOINT_URL_LAMBDA", "apiUrl"),
            ("HEARTH_PROJECT", "project"),
            ("_HANDLER", "handler"),
        ];
        for (name, field) in named {
            env::set_var(name, message[field].as_str().unwrap_or(""));
        }
        for (name, value) in message["env"].as_object().into_iter().flatten() {
            env::set_var(name, value.as_str().unwrap_or(""));
        }
        self.facts = message;
        self.ready(started)
    }
}

struct Credit {
    stream: u32,
    left: usize,
    is_gone: bool,
}

fn parse(payload: &[u8]) -> io::Result<Value> {
    serde_json::from_slice(payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Gives the program's own handler of SIGTERM the time that the host gives; without one it ends at once.
fn shut_down(message: &Value) -> ! {
    // SAFETY: plain numbers.
    unsafe { kill(process::id() as i32, SIGTERM) };
    thread::sleep(Duration::from_millis(message["graceMs"].as_u64().unwrap_or(0)));
    process::exit(0)
}

/// What must differ between two clones of a snapshot, or must be as the host set it, as far as std tells.
fn identity() -> Vec<u8> {
    let mut random = [0u8; 32];
    // Without it the answer says so by its zeros.
    let _ = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let id = hex(&random[16..]);
    let uuid = format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let answer = json!({
        "randomBytes": hex(&random[..16]), "uuid": uuid, "nowMs": now.as_millis() as u64, "hostname": hostname.trim_end(),
    });
    answer.to_string().into_bytes()
}
