//! How a VMM is started: `Vm::spawn` in a root that we make, `Vm::jail` by Firecracker's jailer. What fails half way gives back what
//! it took: everything frees itself when dropped.

use super::child::{self, Plan};
use super::inputs::{self, Ram};
use super::jail::{self, Jail};
use super::{Process, Program, Record, Templates, Vm};
use crate::cgroup::{Cgroups, Group};
use crate::error::{Context, Error};
use crate::host::{device_trees, Host};
use crate::netns::Slot;
use crate::request::{VmBase, VmJail, VmSpawn};
use crate::sys::{self, Pid};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

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
        let Ground { host, program, templates, .. } = ground;
        let VmBase { uid, .. } = request.base;
        let start = Start::prepare(&ground, &request.base)?;
        let (mut given, mut sockets) = (Vec::new(), Vec::new());
        for path in &request.listen {
            let (socket, made) = inputs::listen(host, path)?;
            given.push(socket);
            sockets.push(made);
        }
        for file in &request.files {
            given.push(inputs::open(host, file, uid)?);
        }
        let (memory, made) = inputs::memory(host, &request.memory, uid, |name| templates.get(name))?;
        let tap = ground.slot.as_ref().map(|slot| &slot.tap);
        let numbers: Vec<RawFd> = given.iter().chain(&memory).chain(tap).map(|fd| fd.as_raw_fd()).collect();
        let mut trees = program.trees(host)?;
        let nodes: &[_] = if host.can_mknod { &NODES[..2 + usize::from(request.has_kvm)] } else { &[] };
        if !host.can_mknod {
            trees.extend(device_trees()?);
        }
        let links = program.links(host);
        let plan = Plan {
            trees: &trees,
            links: &links,
            nodes,
            proc_masked: &host.proc_masked,
            inputs: &numbers,
            ..start.plan(&ground, &request.base, (&request.base.program, &request.argv))
        };
        let Some(forked) = host.fork_sandbox(start.group.v2_fd())? else { child::run(&plan) };
        let mut vm = start.hold(host, &request.base, forked)?;
        vm.record.sockets.clone_from(&request.listen);
        vm.sockets = sockets;
        vm.ram = made.zip(memory).map(|(made, file)| Ram { made, file });
        Ok(vm)
    }

    /// Starts Firecracker's jailer, which becomes the VMM; its own failures come as an end with its last words.
    pub fn jail(ground: Ground, request: &VmJail) -> Result<Vm, Error> {
        let Ground { host, cgroups, .. } = ground;
        let start = Start::prepare(&ground, &request.base)?;
        if let Some(slot) = &ground.slot {
            let given = crate::tap::set_owner(slot.tap.as_raw_fd(), request.base.uid);
            given.at("tap", || "give the tap away".to_string())?;
        }
        let mut jail = Jail::make(host, request)?;
        let trees = jail.trees(host, request)?;
        let argv = jail::arguments(cgroups, request);
        let plan = Plan { trees: &trees, ..start.plan(&ground, &request.base, (&request.jailer, &argv)) };
        // In a copy of our own mounts: the jailer makes its root from them.
        let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let forked = sys::clone3(namespaces, start.group.v2_fd()).at("fork", || "fork the jailer".to_string())?;
        let Some(forked) = forked else { child::run_jailer(&plan, &jail.jails) };
        let mut vm = start.hold(host, &request.base, forked)?;
        vm.record.jail = Some(jail.name.clone());
        jail.keep();
        vm.root_path.clone_from(&jail.root_path);
        Ok(vm)
    }
}

/// What every VMM is given before it is forked.
struct Start {
    group: Group,
    /// None: it needs no tap of its own making.
    tap_folder: Option<RawFd>,
    null: OwnedFd,
    status: Pipe,
    stderr: Pipe,
}

struct Pipe {
    ours: OwnedFd,
    child: OwnedFd,
}

impl Start {
    fn prepare(ground: &Ground, base: &VmBase) -> Result<Start, Error> {
        let group = ground.cgroups.make(&base.instance)?;
        group.limit_memory(base.memory_mib)?;
        group.limit_pids(base.pids_max)?;
        group.share_cpu(base.cpu_share)?;
        let tap_folder = match (base.has_tap, ground.tap_folder) {
            (true, None) => return Err(missing_tap()),
            (has_tap, folder) => folder.filter(|_| has_tap).map(|folder| folder.as_raw_fd()),
        };
        let null = sys::openat(libc::AT_FDCWD, "/dev/null", libc::O_RDWR, 0).at("stdio", || "open /dev/null".into())?;
        let (status, stderr) = (Pipe::make("status")?, Pipe::make("stdio")?);
        sys::set_blocking(stderr.child.as_raw_fd()).at("stdio", || "make stderr blocking".to_string())?;
        Ok(Start { group, tap_folder, null, status, stderr })
    }

    /// The child's plan, so far as it is the same for all.
    fn plan<'a>(&'a self, ground: &'a Ground, base: &'a VmBase, (program, argv): (&'a str, &'a [String])) -> Plan<'a> {
        Plan {
            instance: &base.instance,
            cgroups: ground.cgroups,
            network: ground.slot.as_ref().map(|slot| &slot.network),
            tap_folder: self.tap_folder,
            trees: &[],
            links: &[],
            nodes: &[],
            proc_masked: &[],
            filter: &ground.host.filter,
            null: &self.null,
            stderr: &self.stderr.child,
            status: &self.status.child,
            inputs: &[],
            program,
            argv,
            uid: base.uid,
            nice: ground.host.nice,
        }
    }

    /// The child that was just forked, before anything is known of it.
    fn hold(self, host: &Host, base: &VmBase, (pid, pidfd): (Pid, OwnedFd)) -> Result<Vm, Error> {
        let process = Process::of(pid).map_err(|error| {
            let _ = sys::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL);
            let _ = sys::wait(pid);
            error
        });
        let record = Record {
            instance: base.instance.clone(),
            process: process.at("vms", || format!("look at process {pid}"))?,
            uid: base.uid,
            owner: (host.platform_uid, host.platform_gid),
            sockets: Vec::new(),
            egress_index: None,
            jail: None,
        };
        let mut vm = Vm::new(record, pidfd, self.group);
        (vm.status, vm.stderr) = (Some(self.status.ours), Some(self.stderr.ours));
        Ok(vm)
    }
}

impl Pipe {
    fn make(step: &'static str) -> Result<Pipe, Error> {
        let (ours, child) = sys::pipe(libc::O_NONBLOCK).at(step, || "make a pipe".to_string())?;
        Ok(Pipe { ours, child })
    }
}

fn missing_tap() -> Error {
    Error::Missing {
        feature: "tap",
        reason: "there is no /dev/net/tun".to_string(),
        fix: "Run: modprobe tun; in a container, allow that device.",
    }
}
