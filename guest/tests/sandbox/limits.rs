//! What a sandbox can use up.

use crate::support::Platform;
use serde_json::json;
use std::fs;
use std::time::Duration;

pub fn fork_bomb(platform: &mut Platform) {
    let (text, _) = platform.run("i-1", "fork");
    let count: u32 = text.trim().parse().unwrap();
    assert!((20..=32).contains(&count), "forked {count}");
}

pub fn out_of_memory(platform: &mut Platform) {
    let (_, event) = platform.run("i-1", "eat");
    assert_eq!(event, json!({ "event": "exited", "instance": "i-1", "code": null, "signal": "SIGKILL", "oom": true }));
}

pub fn child_out_of_memory(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "eat in child");
    sandbox.wait_for(b'k');
    let stats = platform.must("stats", json!({ "instance": "i-1" }));
    assert_eq!(stats["oomKills"], 1);
    assert!(stats["memoryPeakBytes"].as_u64().unwrap() > 40 << 20);
    let reset = platform.must("stats", json!({ "instance": "i-1", "resetPeak": true }));
    assert!(reset["memoryBytes"].as_u64().unwrap() < 40 << 20);
    assert!(platform.must("stats", json!({ "instance": "i-1" }))["memoryPeakBytes"].as_u64().unwrap() < 40 << 20);
    sandbox.tell();
    let event = platform.event();
    assert_eq!((&event["code"], &event["oom"]), (&json!(0), &json!(false)));
}

pub fn full_tmp(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "fill");
    sandbox.wait_for(b'f');
    let stats = platform.must("stats", json!({ "instance": "i-1" }));
    assert_eq!((&stats["tmpFull"], &stats["tmpBytes"]), (&json!(true), &json!(8 << 20)));
    let mut fields = platform.bind_fields("i-1");
    fields["tmpMib"] = json!(16);
    platform.must("bind", fields);
    assert_eq!(platform.must("stats", json!({ "instance": "i-1" }))["tmpFull"], false);
    sandbox.tell();
    assert_eq!(sandbox.rest(), "8388608 ENOSPC\n16777216 ENOSPC\n");
}

pub fn flood(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "flood");
    std::thread::sleep(Duration::from_millis(300));
    let status = fs::read_to_string(format!("/proc/{}/status", sandbox.pid)).unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap().trim();
    println!("        supervisor under flood: {anonymous}");
    assert!(anonymous.trim_end_matches(" kB").parse::<u32>().unwrap() < 2048);
    let text = sandbox.rest();
    assert_eq!(text.len(), 50_000_000);
}
