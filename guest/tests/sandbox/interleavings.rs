//! Freeze, thaw, stats and kill in any order and without waiting for answers: each is answered once, and an end is told once.

use crate::support::{Platform, Sandbox};
use serde_json::{json, Value};
use std::collections::HashMap;

const SANDBOXES: usize = 6;
const ROUNDS: usize = 40;
/// Requests sent in one write.
const BURST_MAX: u64 = 12;

/// xorshift64*: the same seed gives the same requests.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

pub fn any_order(platform: &mut Platform) {
    let seed = match std::env::var("HEARTH_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
    };
    println!("        HEARTH_TEST_SEED={seed}");
    let mut random = Random(seed);
    let mut tally = HashMap::new();
    for round in 0..ROUNDS {
        let names: Vec<String> = (0..SANDBOXES).map(|n| format!("r{round}-{n}")).collect();
        let mut sandboxes: Vec<Sandbox> = names.iter().map(|name| platform.spawn(name, "tick thrice")).collect();
        let mut asked: HashMap<u64, (&str, &str)> = HashMap::new();
        for _ in 0..1 + random.below(3) {
            let mut burst = Vec::new();
            for _ in 0..1 + random.below(BURST_MAX) {
                let verb = match random.below(20) {
                    0..=7 => "freeze",
                    8..=14 => "thaw",
                    15..=17 => "stats",
                    _ => "kill",
                };
                burst.push((verb, names[random.below(SANDBOXES as u64) as usize].as_str()));
            }
            asked.extend(send(platform, &burst));
        }
        // Whatever came before, a thaw at the end lets those go on that were not killed.
        let last: Vec<(&str, &str)> = names.iter().map(|name| ("thaw", name.as_str())).collect();
        asked.extend(send(platform, &last));
        let ended = settle(platform, &asked, &mut tally);
        for sandbox in sandboxes.iter_mut().filter(|sandbox| !ended.contains(&sandbox.id)) {
            sandbox.tick_anew();
        }
        let kills: Vec<(&str, &str)> = names.iter().map(|name| ("kill", name.as_str())).collect();
        let asked = send(platform, &kills).into_iter().collect();
        let ended_now = settle(platform, &asked, &mut tally);
        assert_eq!(ended.len() + ended_now.len(), SANDBOXES, "round {round}");
        assert_eq!(platform.must("list", json!({}))["instances"], json!([]), "round {round}");
    }
    println!("        {tally:?}");
}

fn send<'a>(platform: &mut Platform, requests: &[(&'a str, &'a str)]) -> Vec<(u64, (&'a str, &'a str))> {
    let lines: Vec<(&str, Value)> = requests.iter().map(|(verb, name)| (*verb, json!({ "instance": name }))).collect();
    platform.send(lines).into_iter().zip(requests.iter().copied()).collect()
}

/// Reads until everything is answered; returns the instances whose end was told.
fn settle(
    platform: &mut Platform,
    asked: &HashMap<u64, (&str, &str)>,
    tally: &mut HashMap<String, u32>,
) -> Vec<String> {
    let mut answered: HashMap<u64, Value> = HashMap::new();
    let mut ended = Vec::new();
    while answered.len() < asked.len() {
        let line = platform.event();
        if line["event"] == "exited" {
            let name = line["instance"].as_str().unwrap().to_string();
            assert!(!ended.contains(&name), "{name} ended twice");
            ended.push(name);
            continue;
        }
        let id = line["id"].as_u64().unwrap();
        let (verb, name) = asked.get(&id).unwrap_or_else(|| panic!("nothing was asked: {line}"));
        check(&line, verb, name, &ended);
        let error = line["error"].as_str().unwrap_or("ok").replace(name, "x");
        *tally.entry(format!("{verb}: {error}")).or_insert(0) += 1;
        assert!(answered.insert(id, line).is_none(), "{verb} {name} was answered twice");
    }
    ended
}

fn check(line: &Value, verb: &str, name: &str, ended: &[String]) {
    let has_ended = ended.iter().any(|other| other == name);
    match (verb, line["ok"] == true) {
        ("kill", true) if line["signal"].is_string() => assert!(has_ended, "{line} before the end was told"),
        ("kill", true) => assert_eq!(line["code"], Value::Null),
        (_, true) => assert!(!has_ended, "{verb} worked after the end: {line}"),
        ("freeze", false) if line["step"] == "freezer" => {
            assert_eq!(line["error"], format!("Instance \"{name}\" was thawed before it was frozen."));
        }
        ("freeze" | "thaw" | "stats", false) => {
            assert_eq!(line["error"], format!("There is no instance \"{name}\"."));
        }
        _ => panic!("{verb} {name}: {line}"),
    }
}
