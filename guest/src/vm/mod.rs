//! One VMM as the launcher holds it: made by `Vm::spawn`, freed when dropped. What fails half way gives back what it took.

mod child;
mod former;
mod inputs;
mod jail;
mod place;
mod program;
mod reaper;
mod record;
mod tail;
mod template;

pub use former::Former;
pub use program::Program;
pub use reaper::{Reaper, Ward};
pub use record::{Process, Record, Records};
pub use template::Templates;

use crate::cgroup::{Cgroups, Group};
use crate::error::{Context, Error};
use crate::host::{device_trees, Host};
use crate::instance::Exit;
use crate::netns::Slot;
use crate::request::{VmJail, VmSpawn};
use crate::sandbox::{Status, STATUS_BYTES};
use crate::sys::{self, Ended, Pid};
use child::Plan;
use inputs::Made;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
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

struct Ram {
    made: Made,
    file: OwnedFd,
}

/// What a VMM is made from, besides its request.
pub struct Ground<'a> {
    pub host: &'a Host,
    pub cgroups: &'a Cgroups,
    pub program: &'a Program,
    pub templates: &'a Templates,
    /// From the pool, if it had one and a tap is wanted.
    pub slot: Option<Slot>,
    pub tap_folder: Option<&'a OwnedFd>,
}

const NODES: [(&str, u32, u32); 3] = [("null", 1, 3), ("urandom", 1, 9), ("kvm", 10, 232)];

impl Vm {
    /// Makes a VMM and lets it go; its status pipe tells which step failed, or ends when it has been exec'd.
    pub fn spawn(ground: Ground, request: &VmSpawn) -> Result<Vm, Error> {
        let Ground { host, cgroups, program, templates, .. } = ground;
        let group = cgroups.make(&request.instance)?;
        group.limit_memory(request.memory_mib)?;
        group.limit_pids(request.pids_max)?;
        group.share_cpu(request.cpu_share)?;
        let joins = group.join_files()?;
        let (mut given, mut sockets) = (Vec::new(), Vec::new());
        for path in &request.listen {
            let (socket, made) = inputs::listen(host, path)?;
            given.push(socket);
            sockets.push(made);
        }
        for file in &request.files {
            given.push(inputs::open(host, file, request.uid)?);
        }
        let (memory, made) = inputs::memory(host, &request.memory, request.uid, |name| templates.get(name))?;
        let slot = ground.slot.as_ref();
        let numbers = given.iter().chain(&memory).chain(slot.map(|slot| &slot.tap));
        let tap_folder = match (request.has_tap, ground.tap_folder) {
            (true, None) => return Err(missing_tap()),
            (has_tap, folder) => folder.filter(|_| has_tap).map(|folder| folder.as_raw_fd()),
        };
        let numbers: Vec<RawFd> = numbers.map(|fd| fd.as_raw_fd()).collect();
        let mut trees = program.trees(host)?;
        let nodes: &[_] = if host.can_mknod { &NODES[..2 + usize::from(request.has_kvm)] } else { &[] };
        if !host.can_mknod {
            trees.extend(device_trees()?);
        }
        let links = program.links(host);
        let null = sys::openat(libc::AT_FDCWD, "/dev/null", libc::O_RDWR, 0).at("stdio", || "open /dev/null".into())?;
        let pipe = |step| sys::pipe(libc::O_NONBLOCK).at(step, || "make a pipe".to_string());
        let ((status, status_end), (stderr, stderr_end)) = (pipe("status")?, pipe("stdio")?);
        sys::set_blocking(stderr_end.as_raw_fd()).at("stdio", || "make stderr blocking".to_string())?;
        let plan = Plan {
            joins: &joins,
            network: slot.map(|slot| &slot.network),
            tap_folder,
            trees: &trees,
            links: &links,
            nodes,
            proc_masked: &host.proc_masked,
            filter: &host.filter,
            null: &null,
            stderr: &stderr_end,
            status: &status_end,
            inputs: &numbers,
            program: &request.program,
            argv: &request.argv,
            uid: request.uid,
            nice: host.nice,
        };
        let Some((pid, pidfd)) = host.fork_sandbox(group.v2_fd())? else { child::run(&plan) };
        let mut vm = Vm::hold(host, (&request.instance, request.uid), group, (pid, pidfd))?;
        (vm.status, vm.stderr) = (Some(status), Some(stderr));
        vm.record.sockets.clone_from(&request.listen);
        vm.sockets = sockets;
        vm.ram = made.zip(memory).map(|(made, file)| Ram { made, file });
        Ok(vm)
    }

    /// Starts Firecracker's jailer, which becomes the VMM; its own failures come as an end with its last words.
    pub fn jail(ground: Ground, request: &VmJail) -> Result<Vm, Error> {
        let Ground { host, cgroups, .. } = ground;
        let group = cgroups.make(&request.instance)?;
        group.limit_memory(request.memory_mib)?;
        group.limit_pids(request.pids_max)?;
        group.share_cpu(request.cpu_share)?;
        let joins = group.join_files()?;
        let tap_folder = match (request.has_tap, ground.tap_folder) {
            (true, None) => return Err(missing_tap()),
            (has_tap, folder) => folder.filter(|_| has_tap).map(|folder| folder.as_raw_fd()),
        };
        let slot = ground.slot.as_ref();
        if let Some(slot) = slot {
            crate::tap::set_owner(slot.tap.as_raw_fd(), request.uid).at("tap", || "give the tap away".to_string())?;
        }
        let mut jail = jail::Jail::make(host, request)?;
        let trees = jail.trees(host, request)?;
        let argv = jail::arguments(cgroups, request);
        let null = sys::openat(libc::AT_FDCWD, "/dev/null", libc::O_RDWR, 0).at("stdio", || "open /dev/null".into())?;
        let pipe = |step| sys::pipe(libc::O_NONBLOCK).at(step, || "make a pipe".to_string());
        let ((status, status_end), (stderr, stderr_end)) = (pipe("status")?, pipe("stdio")?);
        sys::set_blocking(stderr_end.as_raw_fd()).at("stdio", || "make stderr blocking".to_string())?;
        let plan = Plan {
            joins: &joins,
            network: slot.map(|slot| &slot.network),
            tap_folder,
            trees: &trees,
            links: &[],
            nodes: &[],
            proc_masked: &[],
            filter: &host.filter,
            null: &null,
            stderr: &stderr_end,
            status: &status_end,
            inputs: &[],
            program: &request.jailer,
            argv: &argv,
            uid: request.uid,
            nice: host.nice,
        };
        // In a copy of our own mounts: the jailer makes its root from them.
        let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let forked = sys::clone3(namespaces, group.v2_fd()).at("fork", || "fork the jailer".to_string())?;
        let Some(forked) = forked else { child::run_jailer(&plan, &jail.jails) };
        let mut vm = Vm::hold(host, (&request.instance, request.uid), group, forked)?;
        (vm.status, vm.stderr) = (Some(status), Some(stderr));
        vm.record.jail = Some(jail.name.clone());
        jail.keep();
        vm.root_path.clone_from(&jail.root_path);
        Ok(vm)
    }

    /// A child that was just forked, as it is before anything is known of it.
    fn hold(host: &Host, (id, uid): (&str, u32), group: Group, (pid, pidfd): (Pid, OwnedFd)) -> Result<Vm, Error> {
        let process = Process::of(pid).at("vms", || format!("look at process {pid}"));
        let process = process.inspect_err(|_| {
            let _ = sys::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL);
            let _ = sys::wait(pid);
        })?;
        Ok(Vm {
            id: id.to_string(),
            pid,
            pidfd,
            status: None,
            stderr: None,
            is_running: false,
            failure: None,
            group,
            spawn_request: None,
            kill_requests: Vec::new(),
            network_request: None,
            egress_index: None,
            is_connected: false,
            has_resolver: false,
            record: Record {
                instance: id.to_string(),
                process,
                uid,
                owner: (host.platform_uid, host.platform_gid),
                sockets: Vec::new(),
                egress_index: None,
                jail: None,
            },
            root_path: String::new(),
            is_adopted: true,
            is_child: true,
            is_kill_asked: false,
            tail: Tail::default(),
            sockets: Vec::new(),
            ram: None,
        })
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

    /// One that a former launcher started. What it writes to stderr is heard again from now on.
    pub fn take_over(cgroups: &Cgroups, record: Record, pidfd: OwnedFd) -> Result<Vm, Error> {
        let pid = record.process.pid;
        let stderr = format!("/proc/{pid}/fd/2");
        let is_pipe = std::fs::read_link(&stderr).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"));
        let open = || sys::openat(libc::AT_FDCWD, &stderr, libc::O_RDONLY | libc::O_NONBLOCK, 0).ok();
        Ok(Vm {
            id: record.instance.clone(),
            pid,
            pidfd,
            status: None,
            stderr: if is_pipe { open() } else { None },
            is_running: true,
            failure: None,
            group: cgroups.find(&record.instance)?,
            spawn_request: None,
            kill_requests: Vec::new(),
            network_request: None,
            egress_index: record.egress_index,
            is_connected: record.egress_index.is_some(),
            has_resolver: false,
            record,
            root_path: String::new(),
            is_adopted: false,
            is_child: false,
            is_kill_asked: false,
            tail: Tail::default(),
            sockets: Vec::new(),
            ram: None,
        })
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
                        ram.made.keep();
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

    /// Its network namespace: surely its own, since it still lives after the path was opened.
    pub fn network(&self) -> Result<OwnedFd, Error> {
        let opened = sys::openat(libc::AT_FDCWD, &format!("/proc/{}/ns/net", self.pid), libc::O_RDONLY, 0);
        let own = opened.and_then(|network| sys::pidfd_kill(self.pidfd.as_raw_fd(), 0).map(|()| network));
        own.at("network", || format!("open the network of VM \"{}\"", self.id))
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

fn missing_tap() -> Error {
    Error::Missing {
        feature: "tap",
        reason: "there is no /dev/net/tun".to_string(),
        fix: "Run: modprobe tun; in a container, allow that device.",
    }
}

/// Removes the files of a VM that a former launcher started and that has ended.
pub fn remove_leftovers(state: &str, record: &Record) {
    if let Some(name) = &record.jail {
        jail::remove(state, name);
    }
    let (uid, gid) = record.owner;
    // With the platform's own rights: the paths are its own, and it may have put anything there.
    sys::as_file_user(uid, gid, || {
        for path in &record.sockets {
            let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            if is_socket {
                let _ = std::fs::remove_file(path);
            }
        }
    });
}

impl Drop for Ram {
    fn drop(&mut self) {
        // No later VMM of the same uid may write to it.
        let _ = sys::fchmod(self.file.as_raw_fd(), 0o600);
    }
}
