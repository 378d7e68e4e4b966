//! vm_network: what a guest reaches, as root in it, on its own wire.

use crate::spawn::{spawn, Dummy};
use crate::support::{eventually, Platform};
use crate::world::{CLOSED, OPEN, OUTSIDE, PORT};
use serde_json::{json, Value};
use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

struct Networked {
    vm: Dummy,
    address: String,
    gateway: String,
}

impl Networked {
    fn start(platform: &mut Platform, id: &str, more: Value) -> Networked {
        let vm = spawn(platform, id, json!({ "hasTap": true }));
        let mut fields = json!({ "instance": id, "network": "egress", "resolver": null });
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        let reply = platform.must("vm_network", fields);
        let text = |name: &str| reply[name].as_str().unwrap().to_string();
        Networked { vm, address: text("address"), gateway: text("gateway") }
    }

    /// What comes back from a datagram to `to`; "error 110" is silence.
    fn udp(&mut self, to: &str, port: u16) -> String {
        self.vm.ask(&format!("udp 4 {} {} {to} {port} hello", self.address, self.gateway))
    }
}

pub const SILENCE: &str = "error 110";

pub fn sees_internet(answer: &str) -> bool {
    answer.starts_with(&format!("internet to {OUTSIDE} "))
}

pub fn none(platform: &mut Platform) {
    let mut vm = spawn(platform, "v-1", json!({ "hasTap": true }));
    assert_eq!(vm.ask("interfaces"), "lo tap0");
    let reply = platform.must("vm_network", json!({ "instance": "v-1", "network": "none" }));
    assert!(reply["address"].is_null() && reply["gateway"].is_null() && reply["nameServer"].is_null());
    assert_eq!(vm.ask(&format!("udp 4 100.70.0.9 100.70.0.1 {OPEN} {PORT} hello")), SILENCE);
    let unknown = platform.ask("vm_network", json!({ "instance": "v-9", "network": "egress" }));
    assert_eq!(unknown["error"], "There is no instance \"v-9\".");
}

pub fn egress(platform: &mut Platform) {
    let mut one = Networked::start(platform, "v-1", json!({}));
    let mut two = Networked::start(platform, "v-2", json!({}));
    assert!(one.address.starts_with("100.") && one.address != two.address && one.gateway.ends_with(".0.1"));
    for guest in [&mut one, &mut two] {
        let answer = guest.udp(OPEN, PORT);
        assert!(sees_internet(&answer), "{answer}");
    }
    // The host listens on every address it has; no guest reaches it, nor what is private, nor another guest.
    let _host = UdpSocket::bind("0.0.0.0:4001").unwrap();
    for closed in CLOSED {
        assert_eq!(one.udp(closed, PORT), SILENCE, "{closed}");
    }
    for own in [OUTSIDE, "127.0.0.1", &one.gateway.clone(), &two.address.clone()] {
        assert_eq!(one.udp(own, 4001), SILENCE, "{own}");
    }
    // An address that is not its own.
    for forged in [two.address.as_str(), "8.8.8.8", OUTSIDE] {
        let line = format!("udp 4 {} {} {OPEN} {PORT} hello {forged}", one.address, one.gateway);
        assert_eq!(one.vm.ask(&line), SILENCE, "{forged}");
    }
    // No name service without a resolver.
    assert_eq!(one.udp(OPEN, 53), SILENCE);
    let again = platform.ask("vm_network", json!({ "instance": "v-1", "network": "none" }));
    assert_eq!(again["ok"], false, "{again}");
    let refused = platform.ask("vm_network", json!({ "instance": "v-1", "network": "egress", "resolver": null }));
    assert_eq!((&refused["ok"], &refused["address"]), (&json!(true), &json!(one.address)), "asked again: the same");
}

pub fn names(platform: &mut Platform) {
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    resolver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = resolver.local_addr().unwrap().port();
    let mut guest = Networked::start(platform, "v-1", json!({ "resolver": { "port": port } }));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                let (_, from) = resolver.recv_from(&mut [0u8; 512]).unwrap();
                resolver.send_to(b"a name", from).unwrap();
            }
        });
        let gateway = guest.gateway.clone();
        assert_eq!(guest.udp(&gateway, 53), "a name");
        assert_eq!(guest.udp("8.8.8.8", 53), "a name");
    });
    assert_eq!(guest.udp("127.0.0.1", port), SILENCE, "the resolver is reached past port 53");
}

pub fn rate(platform: &mut Platform) {
    let mut guest = Networked::start(platform, "v-1", json!({ "bytesPerSecond": 1_000_000 }));
    let started = Instant::now();
    let line = format!("flood 4 {} {} {OPEN} {PORT} 1000", guest.address, guest.gateway);
    let sent: u64 = guest.vm.ask(&line).parse().unwrap();
    let answer = guest.udp(OPEN, PORT);
    let seconds = started.elapsed().as_secs_f64();
    let got: f64 = answer.rsplit_once(' ').unwrap().1.parse().unwrap();
    println!("        {sent} bytes sent, {got} arrived in {seconds:.2} s");
    // The rate, a burst and a queue of an eighth of a second each; headers count.
    assert!(sent > 3_000_000 && got < 1_000_000.0 * (seconds + 0.4) && got > 600_000.0 * seconds.min(1.0));
}

/// More at once than the pool holds: the others make their own. None leaves an interface on the host.
pub fn burst(platform: &mut Platform) {
    let before = Instant::now();
    let mut guests: Vec<Networked> =
        (0..30).map(|number| Networked::start(platform, &format!("v-{number}"), json!({}))).collect();
    println!("        30 VMs with a network after {} ms", before.elapsed().as_millis());
    for guest in &mut guests {
        assert_eq!(guest.vm.ask("interfaces"), "lo tap0 eth0 br0");
    }
    let answer = guests[29].udp(OPEN, PORT);
    assert!(sees_internet(&answer), "{answer}");
    for number in 0..30 {
        platform.must("kill", json!({ "instance": format!("v-{number}") }));
    }
    eventually("the end of all interfaces", || !fs::read_to_string("/proc/net/dev").unwrap().contains("hth"));
}

/// What the kernel remembers of a VM's address ends with it, and of nobody else's.
pub fn flows(platform: &mut Platform) {
    // Which flows there are is for root to see.
    let count =
        || fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap().trim().parse::<u32>().unwrap();
    let mut one = Networked::start(platform, "v-1", json!({}));
    let mut two = Networked::start(platform, "v-2", json!({}));
    let before = count();
    for guest in [&mut one, &mut two] {
        let answer = guest.udp(OPEN, PORT);
        assert!(sees_internet(&answer), "{answer}");
    }
    assert_eq!(count(), before + 2, "each lasts 30 s when nobody ends it");
    platform.must("kill", json!({ "instance": "v-1" }));
    eventually("the end of its flow", || count() == before + 1);
    // The next gets another number still, and what it sends and gets is its own.
    let mut three = Networked::start(platform, "v-3", json!({}));
    let answer = three.udp(OPEN, PORT);
    assert!(three.address != one.address && sees_internet(&answer), "{answer}");
}
