use crate::rig::World;
use crate::wire;
use serde_json::{json, Value};

#[test]
fn a_bridge_bound_for_nothing_answers_the_platforms_questions_and_is_small() {
    let Some(world) = World::new() else { return };
    let mut bridge = world.boot();
    bridge.send(wire::PING, 0, 0, b"12345678");
    assert_eq!(bridge.next().payload, b"12345678");
    bridge.start(json!({ "purpose": "compile" })).unwrap();
    let stream = bridge.open(json!({ "kind": "identity" }));
    bridge.send(wire::END, 0, stream, b"");
    let one = bridge.outcome(stream).json();
    assert_eq!(one["randomBytes"].as_str().unwrap().len(), 64);
    assert!(one["nowMs"].as_f64().unwrap() > 1.6e12 && one["hostname"].is_string() && one["addresses"].is_array());
    let stream = bridge.open(json!({ "kind": "compile" }));
    bridge.send(wire::DATA, wire::FIN, stream, b"");
    assert_eq!(bridge.outcome(stream).text(), "");
    let resident = bridge.resident_kib();
    println!("an idle bridge holds {resident} KiB");
    assert!(resident < 512, "{resident} KiB");
    bridge.send(wire::SHUTDOWN, 0, 0, br#"{"graceMs":1000}"#);
    assert_eq!(bridge.ended(), 0);
}

#[test]
fn a_clone_greets_with_its_epoch_draws_anew_and_counts_streams_from_one() {
    let Some(world) = World::new() else { return };
    world.bootstrap("while True:\n  id, event, _ = next_event()\n  post(f'invocation/{id}/response', event)\n");
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    assert_eq!(bridge.call("1").text(), "1");
    bridge.send(wire::PREPARE_SNAPSHOT, 0, 0, b"{}");
    bridge.send(wire::PING, 0, 0, b"quiet");
    assert_eq!(bridge.next().payload, b"quiet");
    bridge.send(wire::RESUME, 0, 0, br#"{"nowMs":1,"seed":"00","epoch":"epoch-2"}"#);
    assert_eq!(bridge.expect(wire::RESUMED), json!({ "epoch": "epoch-2" }));
    let hello = bridge.expect(wire::HELLO);
    assert_eq!((&hello["epoch"], &hello["isBusy"]), (&json!("epoch-2"), &json!(false)));
    bridge.restart_streams();
    bridge.start(json!({})).unwrap();
    assert_eq!(bridge.call("2").text(), "2");
    bridge.send(wire::RESUME, 0, 0, br#"{"nowMs":1,"seed":"00","epoch":"epoch-3"}"#);
    bridge.expect(wire::RESUMED);
    bridge.expect(wire::HELLO);
    let failure = bridge.start(json!({ "env": { "NEW": "1" } })).unwrap_err();
    assert_eq!(failure["errorType"], "Runtime.OtherEnvironment");
}

#[test]
fn a_program_that_speaks_frames_takes_the_process_over_and_loses_nothing() {
    let Some(world) = World::new() else { return };
    // Says READY, then sends back as DATA what it read of the channel, which begins right behind BIND.
    world.file("task/hearth-bootstrap", NATIVE, 0o755);
    let mut bridge = world.boot();
    let pid = bridge.child.id();
    bridge.bind(json!({ "env": { "OWN": "x" } }));
    let stream = bridge.invoke("event");
    bridge.expect(wire::READY);
    let told = bridge.outcome(stream).json();
    assert_eq!(told["pid"].as_u64(), Some(u64::from(pid)));
    assert_eq!((&told["event"], &told["own"], &told["root"]), (&json!("event"), &json!("x"), &json!("/var/task")));
    let bound: Value = serde_json::from_str(told["bind"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&bound["function"], &bound["memoryMib"], &bound["accountId"]),
        (&json!("f"), &json!(256), &json!("000000000000"))
    );
}

const NATIVE: &str = r#"#!/usr/bin/env python3
import json, os, struct
def frame(kind, flags, stream, payload): os.write(3, struct.pack('>BBHII', kind, flags, 0, stream, len(payload)) + payload)
def exactly(count):
    got = b''
    while len(got) < count: got += os.read(3, count - len(got))
    return got
frame(4, 0, 0, b'{"loadMs":1}')
kind, _, _, stream, length = struct.unpack('>BBHII', exactly(12))
assert kind == 5
exactly(length)
kind, flags, _, _, length = struct.unpack('>BBHII', exactly(12))
event = exactly(length).decode()
told = {'event': event, 'pid': os.getpid(), 'own': os.environ['OWN'], 'root': os.environ['LAMBDA_TASK_ROOT'], 'bind': os.environ['HEARTH_BIND']}
frame(7, 1, stream, json.dumps(told).encode())
exactly(1)
"#;

#[test]
fn shutdown_and_sigterm_let_the_program_end() {
    let Some(world) = World::new() else { return };
    let body = "import signal\ndef end(*_):\n  say('end', 'terminated')\n  sys.exit(3)\nsignal.signal(signal.SIGTERM, end)\nnext_event()\n";
    world.bootstrap(body);
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    bridge.send(wire::SHUTDOWN, 0, 0, br#"{"graceMs":10000}"#);
    assert_eq!(bridge.ended(), 0);
    assert_eq!(world.out("end"), "terminated");
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    // SAFETY: takes plain numbers.
    unsafe { libc::kill(bridge.child.id() as i32, libc::SIGTERM) };
    assert_eq!(bridge.ended(), 0);
    assert_eq!(world.out("end"), "terminatedterminated");
}
