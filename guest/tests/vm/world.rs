//! Network namespaces for the tests: "host", where the launcher runs, and "internet", where UDP is answered on an open address and,
//! although routes lead there, on closed ones.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

pub const OPEN: &str = "203.0.113.10";
pub const CLOSED: [&str; 3] = ["10.9.9.9", "169.254.169.254", "192.168.7.7"];
/// The host's own address towards the internet.
pub const OUTSIDE: &str = "203.0.113.1";
pub const PORT: u16 = 4000;

pub struct World {
    pub host: String,
    internet: String,
    server: Child,
}

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "ip {line}");
}

impl World {
    /// Why there can be none here, or None.
    pub fn missing() -> Option<&'static str> {
        let runs = |program: &str, word: &str| Command::new(program).arg(word).output().is_ok();
        if !runs("ip", "-V") {
            return Some("iproute2 is not installed");
        }
        (!runs("nft", "-v")).then_some("nftables is not installed")
    }

    pub fn new() -> World {
        let (host, internet) = (format!("hvm-h-{}", std::process::id()), format!("hvm-i-{}", std::process::id()));
        for space in [&host, &internet] {
            ip(&format!("netns add {space}"));
            ip(&format!("-n {space} link set lo up"));
        }
        ip(&format!("link add up0 netns {host} type veth peer name up0 netns {internet}"));
        ip(&format!("-n {host} addr add {OUTSIDE}/24 dev up0"));
        ip(&format!("-n {internet} addr add {OPEN}/24 dev up0"));
        for address in CLOSED {
            ip(&format!("-n {internet} addr add {address}/32 dev lo"));
        }
        for space in [&host, &internet] {
            ip(&format!("-n {space} link set up0 up"));
        }
        ip(&format!("-n {host} route add default via {OPEN}"));
        let mut server = Command::new("ip")
            .args(["netns", "exec", &internet])
            .arg(std::env::current_exe().unwrap())
            .arg("internet")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        World { host, internet, server }
    }

    pub fn host_has_interface(&self, prefix: &str) -> bool {
        let shown = Command::new("ip").args(["-n", &self.host, "-o", "link"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains(&format!(": {prefix}"))
    }

    pub fn host_rules(&self) -> String {
        let shown = Command::new("ip").args(["netns", "exec", &self.host, "nft", "list", "tables"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }

    /// The words that make a command run on the host. Not "ip netns exec", which covers /sys and with it the cgroups.
    pub fn prefix(&self) -> Vec<String> {
        vec!["nsenter".to_string(), format!("--net=/run/netns/{}", self.host)]
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        for space in [&self.host, &self.internet] {
            let _ = Command::new("ip").args(["netns", "delete", space]).status();
        }
    }
}

/// The server: tells everyone who they seem to be, and how many bytes came from there; "x..." is only counted.
pub fn internet() -> ! {
    let socket = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
    println!("ready");
    let mut counts: HashMap<std::net::IpAddr, usize> = HashMap::new();
    let mut buffer = [0u8; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let count = counts.entry(from.ip()).or_default();
        if buffer[0] == b'x' {
            *count += length;
            continue;
        }
        let text = format!("internet to {} {}", from.ip(), std::mem::take(count));
        socket.send_to(text.as_bytes(), from).unwrap();
    }
}
