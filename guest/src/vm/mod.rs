//! One VMM as the launcher holds it: made by `Vm::spawn` or `Vm::jail` (start.rs) or taken over from a former launcher (former.rs), freed
//! when dropped.

mod child;
mod former;
mod inputs;
mod jail;
mod place;
mod program;
mod reaper;
mod record;
mod start;
mod tail;
mod template;

pub use former::{remove_leftovers, Former};
pub use jail::root_path as jail_root;
pub use program::Program;
pub use reaper::{Reaper, Ward};
pub use record::{Process, Record, Records};
pub use start::Ground;
pub use template::Templates;

use crate::cgroup::Group;
use crate::error::{Context, Error};
use crate::host::Host;
use crate::instance::Exit;
use crate::sandbox::{Status, STATUS_BYTES};
use crate::sys::{self, Ended, Pid};
use inputs::{Made, Ram};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use tail::Tail;

/// What the launcher is told about VMs at its start.
pub struct VmOptions {
    pub programs: Vec<Program>,
    pub former: Former,
    /// Names this platform's network.
    pub id: String,
    pub wait_ms: u64,
    pub adopt_wait_ms: u64,
}

pub struct Vm {
    pub id: String,
    pub pid: Pid,
    pub pidfd: OwnedFd,
    /// Until the VMM has been exec'd.
    pub status: Option<OwnedFd>,
    /// Until the VMM closes it.
    pub stderr: Option<OwnedFd>,
    pub is_running: bool,
    pub failure: Option<Error>,
    pub group: Group,
    /// Requests waiting: for the start, for the end.
    pub spawn_request: Option<u64>,
    pub kill_requests: Vec<u64>,
    pub network_request: Option<u64>,
    /// Its address, once it has a way out.
    pub egress_index: Option<u16>,
    pub is_connected: bool,
    pub has_resolver: bool,
    /// What is on disk of it.
    pub record: Record,
    /// The root of its jail, if it has one.
    pub root_path: String,
    /// False for one of a former launcher that the platform has not yet asked for.
    pub is_adopted: bool,
    /// One of a former launcher is nobody's child: nothing tells how it ended.
    is_child: bool,
    pub is_kill_asked: bool,
    tail: Tail,
    /// Files of its listening sockets.
    sockets: Vec<Made>,
    /// The RAM file it was given to make.
    ram: Option<Ram>,
}

impl Vm {
    /// One that was just made, of which no more is known than its record says.
    fn new(record: Record, pidfd: OwnedFd, group: Group) -> Vm {
        Vm {
            id: record.instance.clone(),
            pid: record.process.pid,
            pidfd,
            status: None,
            stderr: None,
            is_running: false,
            failure: None,
            group,
            spawn_request: None,
            kill_requests: Vec::new(),
            network_request: None,
            egress_index: record.egress_index,
            is_connected: record.egress_index.is_some(),
            has_resolver: false,
            record,
            root_path: String::new(),
            is_adopted: true,
            is_child: true,
            is_kill_asked: false,
            tail: Tail::default(),
            sockets: Vec::new(),
            ram: None,
        }
    }

    /// Gives a socket in its jail to the platform; false while it is not there.
    pub fn share(&self, host: &Host, name: &str) -> Result<bool, Error> {
        let root = self.record.jail.as_ref().and_then(|jail| jail::find_root(&host.state, jail));
        let root = root.ok_or_else(|| Error::Missing {
            feature: "jail",
            reason: format!("VM \"{}\" has none", self.id),
            fix: "Start it with vm_jail.",
        })?;
        jail::share(host, &root, name, self.record.uid)
    }

    /// Its end, when it has come: None inside when nobody can tell how.
    pub fn reap(&self) -> Option<Option<Ended>> {
        if !self.is_child {
            return Some(self.is_kill_asked.then_some(Ended::Signalled(libc::SIGKILL)));
        }
        sys::reap(self.pid).ok().flatten().map(|(_, ended)| Some(ended))
    }

    /// Lets go of one that is to outlive this launcher: nothing of it is freed.
    pub fn leave(mut self) {
        self.sockets.iter_mut().for_each(Made::keep);
        std::mem::forget(self);
    }

    /// Reads the status pipe; true when the VMM has been exec'd with this.
    pub fn read_status(&mut self) -> bool {
        let Some(status) = &self.status else { return false };
        let mut record = [0u8; STATUS_BYTES];
        match sys::read(status.as_raw_fd(), &mut record) {
            Ok(STATUS_BYTES) => {
                if let Some(Status::Failed { step, errno }) = Status::decode(&record) {
                    self.failure = Some(Error::Sandbox { step, errno });
                }
                false
            }
            Ok(_) => {
                self.status = None;
                let has_started = self.failure.is_none() && !self.is_running;
                if has_started {
                    self.is_running = true;
                    if let Some(ram) = &mut self.ram {
                        ram.keep();
                    }
                }
                has_started
            }
            Err(_) => false,
        }
    }

    /// Reads what it wrote to stderr; closes that when the VMM has.
    pub fn read_stderr(&mut self) {
        if let Some(stderr) = &self.stderr {
            if !self.tail.read(stderr.as_raw_fd()) {
                self.stderr = None;
            }
        }
    }

    pub fn last_words(&self) -> String {
        self.tail.text()
    }

    pub fn network(&self) -> Result<OwnedFd, Error> {
        self.namespace("net").at("network", || format!("open the network of VM \"{}\"", self.id))
    }

    /// One of its namespaces: surely its own, since it still lives after the path was opened.
    fn namespace(&self, kind: &str) -> io::Result<OwnedFd> {
        let found = sys::openat(libc::AT_FDCWD, &format!("/proc/{}/ns/{kind}", self.pid), libc::O_RDONLY, 0)?;
        sys::pidfd_kill(self.pidfd.as_raw_fd(), 0).map(|()| found)
    }

    pub fn exit(&self, ended: Option<Ended>) -> Exit {
        let is_killed = ended == Some(Ended::Signalled(libc::SIGKILL));
        Exit { ended, is_oom: is_killed && !self.is_kill_asked && self.group.oom_kills() > 0 }
    }

    pub fn kill(&mut self) {
        self.is_kill_asked = true;
        self.group.thaw_for_kill();
        let _ = sys::pidfd_kill(self.pidfd.as_raw_fd(), libc::SIGKILL);
    }
}
