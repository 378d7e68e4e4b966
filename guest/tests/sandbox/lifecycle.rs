//! How sandboxes stop, go on and end.

use crate::support::processes_with;
use crate::support::{self, Platform};
use serde_json::{json, Value};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub fn freeze(platform: &mut Platform) {
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

pub fn kill_tree(platform: &mut Platform) {
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

pub fn exits(platform: &mut Platform) {
    assert_eq!(platform.run("i-1", "exit 7").1["code"], 7);
    let event = platform.run("i-2", "abort").1;
    assert_eq!((&event["code"], &event["signal"]), (&Value::Null, &json!("SIGABRT")));
    // A child that lives on and holds the pipes does not delay the end.
    let before = Instant::now();
    let (text, event) = platform.run("i-3", "leave a child");
    assert_eq!((text.as_str(), &event["code"]), ("left\n", &json!(0)));
    assert!(before.elapsed() < Duration::from_secs(2));
}

pub fn shutdown(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "wait");
    sandbox.wait_for(b'r');
    sandbox.send(support::SHUTDOWN, 0, 0, b"{\"graceMs\":5000}");
    assert_eq!(platform.event()["signal"], "SIGTERM");
    let mut stubborn = platform.spawn("i-2", "wait stubbornly");
    stubborn.wait_for(b'r');
    stubborn.send(support::SHUTDOWN, 0, 0, b"{\"graceMs\":50}");
    assert_eq!(platform.event()["signal"], "SIGKILL");
}

pub fn burst(platform: &mut Platform) {
    let mut sandboxes: Vec<_> = (0..40).map(|n| platform.spawn(&format!("i-{n}"), "wait")).collect();
    sandboxes.iter_mut().for_each(|sandbox| sandbox.wait_for(b'r'));
    let (mut times, mut bare_times): (Vec<u128>, Vec<u128>) = (Vec::new(), Vec::new());
    for n in 0..40 {
        platform.must("kill", json!({ "instance": format!("i-{n}") }));
    }
    for n in 0..40 {
        let before = Instant::now();
        let mut sandbox = platform.spawn(&format!("j-{n}"), "wait");
        sandbox.wait_for(b'r');
        times.push(before.elapsed().as_micros());
        // The limit it is held against, in the same moments: the same program without a sandbox.
        let before = Instant::now();
        let mut bare = Command::new(&platform.tester).args(["inside", "hello"]).stdout(Stdio::piped()).spawn().unwrap();
        bare.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        bare_times.push(before.elapsed().as_micros());
        bare.wait().unwrap();
        platform.must("kill", json!({ "instance": format!("j-{n}") }));
    }
    for (what, times) in [("spawn", &mut times), ("without a sandbox", &mut bare_times)] {
        times.sort_unstable();
        println!("        {what}, to the first byte: median {} us, best {} us", times[20], times[0]);
    }
    assert_eq!(platform.must("list", json!({}))["instances"], json!([]));
}
