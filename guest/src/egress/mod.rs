//! `network: egress`: a sandbox's network gets a way out. Runs in the helper process of netns.rs.
//!
//! Each sandbox has one veth pair and one address of a /16 within 100.64.0.0/10; the gateway's address is the same for all. One
//! nftables table, put in place at the first use, translates addresses, keeps sandboxes from this machine, from one another
//! and from every network that is not the public one, and leads all name service to the platform's resolver.

mod conntrack;
mod indexes;
mod rules;
mod vm;

pub use indexes::Indexes;
pub use rules::Plan;
pub use vm::VmRequest;

use crate::error::{errno_text, Error};
use crate::netlink::{interface_index, Netlink};
use crate::sys;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

pub const FIX: &str = "Run: apt-get install nftables";
const ONLY_ROOT: &str = "only root can give a sandbox a way out";
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

pub struct Request {
    pub serial: u32,
    pub index: u16,
    /// 0: there is no resolver.
    pub resolver_port: u16,
}

pub fn missing(reason: &str) -> Error {
    let fix = if reason == ONLY_ROOT { "Start the platform as root" } else { FIX };
    Error::Missing { feature: "egress", reason: reason.to_string(), fix }
}

/// Why this machine cannot give a way out, or None.
pub fn obstacle(is_root: bool) -> Option<&'static str> {
    if !is_root {
        return Some(ONLY_ROOT);
    }
    find_nft().is_none().then_some("\"nft\" is not installed")
}

fn find_nft() -> Option<&'static str> {
    ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"]
        .into_iter()
        .find(|path| fs::metadata(path).is_ok())
}

pub struct Egress {
    plan: Plan,
    /// Port that the rules in place lead name service to.
    rules_port: Option<u16>,
    /// VMs have a way out, which may outlive the launcher.
    has_vms: bool,
    /// Some may have had it before this began.
    is_successor: bool,
}

enum Failure {
    Missing(String),
    Os(String, io::Error),
}

trait Doing<T> {
    fn doing(self, action: &str) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Os(action.to_string(), error))
    }
}

impl Egress {
    pub fn new(id: &str) -> Egress {
        Egress { plan: Plan::new(id), rules_port: None, has_vms: false, is_successor: false }
    }

    /// Answers `serial index port` as netns.rs reads it.
    pub fn answer(&mut self, text: &str, network: &OwnedFd, home: &OwnedFd) -> String {
        let numbers: Vec<u32> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [serial, index, port] = numbers[..] else { return "0 71 understand the request|".to_string() };
        let mut notice = "";
        let done = self.prepare(port as u16).and_then(|made| {
            notice = made;
            self.connect(index as u16, network, home)
        });
        reply(serial, done, notice)
    }

    /// Once: the rules, and forwarding. Returns what the operator should know.
    fn prepare(&mut self, port: u16) -> Result<&'static str, Failure> {
        if self.rules_port == Some(port) {
            return Ok("");
        }
        run_nft(&self.plan.rules(port))?;
        // Numbers begin anew with each launcher: flows of the one before must not come to whoever gets them now.
        if self.rules_port.is_none() && !self.is_successor {
            let _ = conntrack::forget(|address| self.plan.has(address));
        }
        self.rules_port = Some(port);
        if fs::read_to_string(IP_FORWARD).doing("read ip_forward")?.trim() != "0" {
            return Ok("");
        }
        fs::write(IP_FORWARD, "1").doing("turn on net.ipv4.ip_forward")?;
        Ok("net.ipv4.ip_forward was turned on: functions with network egress need it.")
    }

    fn connect(&self, index: u16, network: &OwnedFd, home: &OwnedFd) -> Result<(), Failure> {
        let (gateway, address) = (self.plan.gateway(), self.plan.address(index));
        let name = format!("{}{index:x}", self.plan.prefix);
        let host = Netlink::open().doing("open a routing socket")?;
        host.add_veth(&name, "eth0", network.as_raw_fd()).doing(&format!("make the interface \"{name}\""))?;
        self.open_gateway(&host, &name, index).doing(&format!("set up the interface \"{name}\""))?;
        let inside = || -> io::Result<()> {
            let sandbox = Netlink::open()?;
            let number = interface_index("eth0")?;
            sandbox.add_address(number, address)?;
            sandbox.set_up(number)?;
            sandbox.add_route(number, Some(gateway), None)?;
            sandbox.add_route(number, None, Some(gateway))
        };
        sys::setns(network.as_raw_fd(), libc::CLONE_NEWNET).doing("enter the sandbox's network")?;
        let made = inside();
        if sys::setns(home.as_raw_fd(), libc::CLONE_NEWNET).is_err() {
            // In the wrong network nothing more may be done; the launcher sees us end.
            sys::exit(1);
        }
        made.doing("set up the sandbox's interface")
    }

    /// The host's end of a way out: the gateway's address, and the route to the one behind it.
    fn open_gateway(&self, host: &Netlink, name: &str, index: u16) -> io::Result<()> {
        let number = interface_index(name)?;
        // The resolver listens on this machine's loopback; the rules let nothing else there.
        fs::write(format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")?;
        // Who asks under any address but the one behind it is not heard: the machine has one small table of neighbours for everybody.
        fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "1")?;
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        host.add_address(number, self.plan.gateway())?;
        host.set_up(number)?;
        host.add_route(number, Some(self.plan.address(index)), None)
    }

    /// A former launcher's VMs may have a way out.
    pub fn take_over(&mut self) {
        self.has_vms = true;
        self.is_successor = true;
    }

    /// Nobody has this number any more: its interface goes, with routes and neighbours, and what is under way to its address reaches
    /// nobody. False when that cannot be made sure of: whoever comes next must wait until the flows have ended by themselves.
    pub fn forget(&self, index: u16) -> bool {
        let name = format!("{}{index:x}", self.plan.prefix);
        // Gone with the sandbox's network already, as a rule.
        let _ = Netlink::open().and_then(|host| host.delete_link(interface_index(&name)?));
        let address = self.plan.address(index);
        interface_index(&name).is_err() && conntrack::forget(|other| other == address).is_ok()
    }

    /// The launcher is gone without a word. VMs that have a way out live on, and must not be without rules: whoever ends them takes
    /// the rules away.
    pub fn abandon(&self) {
        if !self.has_vms {
            self.close();
        }
    }

    /// Takes the rules away, when the launcher has ended.
    pub fn close(&self) {
        if self.rules_port.is_some() || self.has_vms {
            let _ = run_nft(&format!("delete table inet {}\n", self.plan.table));
        }
    }
}

/// `serial errno action|notice`, as netns.rs reads it.
fn reply(serial: u32, done: Result<(), Failure>, notice: &str) -> String {
    match done {
        Ok(()) => format!("{serial} 0 |{notice}"),
        Err(Failure::Missing(reason)) => format!("{serial} -1 {reason}|{notice}"),
        Err(Failure::Os(action, error)) => {
            format!("{serial} {} {action}|{notice}", error.raw_os_error().unwrap_or(libc::EIO))
        }
    }
}

/// Takes the rules of the platform `id` away, if there are any.
pub fn remove_rules(id: &str) {
    let _ = run_nft(&format!("delete table inet {}\n", Plan::new(id).table));
}

fn run_nft(script: &str) -> Result<(), Failure> {
    let nft = find_nft().ok_or_else(|| Failure::Missing("\"nft\" is not installed".to_string()))?;
    let run = || -> io::Result<std::process::Output> {
        let mut child = Command::new(nft)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error| {
        Failure::Missing(format!("\"{nft}\" cannot be run: {}", errno_text(error.raw_os_error().unwrap_or(libc::EIO))))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or("it failed").replace('|', "/");
    Err(Failure::Missing(format!("nft says: {line}")))
}
