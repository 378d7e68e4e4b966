//! One sandbox as the launcher holds it: made by `Instance::spawn`, given its code by `bind`, freed by `free`. Whatever fails half
//! way gives back what it took: folders, cgroups and descriptors free themselves when dropped.

mod channels;
mod folder;
mod root;
pub mod tmp;
mod trees;

pub use channels::Channels;

use crate::cgroup::{Cgroups, Group};
use crate::error::{Context, Error};
use crate::host::Host;
use crate::netns::Pool;
use crate::request::{BindCode, Spawn};
use crate::sandbox::{self, Plan, Status, STATUS_BYTES};
use crate::sys::{self, Ended, Pid};
use folder::Folder;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exit {
    pub ended: Option<Ended>,
    pub is_oom: bool,
}

/// A freeze that is not done yet.
pub struct Freezing {
    pub requests: Vec<u64>,
    pub deadline: Instant,
}

pub struct Instance {
    pub id: String,
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub status: OwnedFd,
    /// From the exec of the runtime on.
    pub is_running: bool,
    pub failure: Option<Error>,
    pub group: Group,
    uid: u32,
    pub network: Option<OwnedFd>,
    pub is_bound: bool,
    /// Requests waiting: for the start, for the end, for the network.
    pub spawn_request: Option<u64>,
    pub kill_requests: Vec<u64>,
    pub bind_request: Option<u64>,
    /// What making or taking its network took at the start.
    pub network_us: i32,
    /// When the helper was asked for egress.
    pub egress_asked_at: Option<Instant>,
    pub egress_index: Option<u16>,
    pub is_kill_asked: bool,
    pub is_probe: bool,
    /// While the kernel has not yet stopped everything.
    pub freezing: Option<Freezing>,
    /// What was asked after a kill or the end: answered when the end has been told.
    pub late_requests: Vec<u64>,
    tmp: OwnedFd,
    folder: Folder,
    told: Option<Ended>,
}

impl Instance {
    /// Makes a sandbox and lets it go; it reports over `status` when the runtime has been exec'd, or which step failed.
    pub fn spawn(
        host: &Host,
        cgroups: &Cgroups,
        pool: Option<&mut Pool>,
        request: &Spawn,
        channels: &Channels,
    ) -> Result<Instance, Error> {
        let mut group = cgroups.begin(&request.instance)?;
        let network = pool.and_then(Pool::take);
        let folder = Folder::make(host, &request.instance)?;
        let trees = trees::gather(host, &folder, request)?;
        let devices = if host.can_mknod { Vec::new() } else { crate::host::device_trees()? };
        let uid = if host.is_root { request.uid } else { sys::geteuid() };
        let tmp = tmp::make(request.tmp_mib, uid)?;
        let (status, status_end) = sys::pipe(libc::O_NONBLOCK).at("status", || "make a pipe".to_string())?;
        let (gate_end, gate) = sys::pipe(0).at("cgroup", || "make a pipe".to_string())?;
        let plan = Plan {
            instance: &request.instance,
            cgroups,
            gate: &gate_end,
            network: network.as_ref(),
            root_links: &host.root_links,
            trees: &trees,
            devices: &devices,
            proc_masked: &host.proc_masked,
            tmp: &tmp,
            status: &status_end,
            channel: &channels.runtime,
            supervisor: &channels.supervisor,
            argv: &request.argv,
            env: &request.env,
            uid,
            gid: uid,
            changes_user: host.is_root,
            is_old_root_empty: host.is_root,
            processes_max: (!cgroups.has(crate::cgroup::Controller::Pids)).then_some(request.pids_max),
            filter: &host.filter,
            landlock_abi: host.landlock_abi,
            nice: host.nice,
        };
        let Some((pid, pidfd)) = host.fork_sandbox(group.v2_fd())? else { sandbox::run(&plan) };
        // Beside the child, which gets as far as it can without.
        if let Err(error) = Instance::limit(cgroups, &mut group, request, &gate) {
            let _ = sys::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL);
            let _ = sys::wait(pid);
            return Err(error);
        }
        Ok(Instance {
            id: request.instance.clone(),
            pid,
            pidfd,
            status,
            is_running: false,
            failure: None,
            group,
            uid,
            network,
            is_bound: false,
            spawn_request: None,
            kill_requests: Vec::new(),
            bind_request: None,
            network_us: 0,
            egress_asked_at: None,
            egress_index: None,
            is_kill_asked: false,
            is_probe: false,
            freezing: None,
            late_requests: Vec::new(),
            tmp,
            folder,
            told: None,
        })
    }

    fn limit(cgroups: &Cgroups, group: &mut Group, request: &Spawn, gate: &OwnedFd) -> Result<(), Error> {
        cgroups.complete(group)?;
        group.limit_memory(request.memory_mib)?;
        group.limit_pids(request.pids_max)?;
        sys::write(gate.as_raw_fd(), b"1").at("cgroup", || "let the sandbox go on".to_string()).map(drop)
    }

    /// Reads what the sandbox has told; true when the runtime has started with this.
    pub fn read_status(&mut self) -> bool {
        let mut has_started = false;
        let mut record = [0u8; STATUS_BYTES];
        while let Ok(STATUS_BYTES) = sys::read(self.status.as_raw_fd(), &mut record) {
            match Status::decode(&record) {
                Some(Status::Failed { step, errno }) => {
                    let is_first = self.failure.is_none();
                    if is_first {
                        self.failure = Some(Error::Sandbox { step, errno });
                    }
                }
                Some(Status::Started { network_us }) => {
                    self.network_us = network_us;
                    has_started = self.failure.is_none() && !self.is_running;
                }
                Some(Status::Ended(ended)) => self.told = Some(ended),
                None => {}
            }
        }
        if has_started {
            self.is_running = true;
            self.protect_supervisor();
        }
        has_started
    }

    /// The kernel's out-of-memory killer takes the runtime, not PID 1. Done here, because a child inherits it at a fork.
    fn protect_supervisor(&self) {
        let file = format!("/proc/{}/oom_score_adj", self.pid);
        // Below 0 takes CAP_SYS_RESOURCE, which root lacks in some containers; 0 is still 500 below the runtime.
        if std::fs::write(&file, "-1000").is_err() {
            let _ = std::fs::write(&file, "0");
        }
    }

    /// How it ended, once PID 1 was reaped with `reaped`.
    pub fn exit(&self, reaped: Ended) -> Exit {
        let ended = self.told.unwrap_or(reaped);
        let is_killed_by_kernel = self.told.is_some() || !self.is_kill_asked;
        let is_oom = ended == Ended::Signalled(libc::SIGKILL) && is_killed_by_kernel && self.group.oom_kills() > 0;
        Exit { ended: Some(ended), is_oom }
    }

    /// The freezes that wait, for whoever answers them.
    pub fn take_freezes(&mut self) -> Vec<u64> {
        self.freezing.take().map_or(Vec::new(), |freezing| freezing.requests)
    }

    pub fn kill(&mut self) {
        self.is_kill_asked = true;
        self.group.thaw_for_kill();
        let _ = sys::pidfd_kill(self.pidfd.as_raw_fd(), libc::SIGKILL);
    }

    /// Places read-only code, cache and layers, and sets the Version's limits.
    pub fn bind(&mut self, host: &Host, request: &BindCode) -> Result<(), Error> {
        if self.is_bound {
            return Err(Error::AlreadyBound { instance: self.id.clone() });
        }
        self.group.limit_memory(request.memory_mib)?;
        self.group.share_cpu(request.cpu_share)?;
        tmp::resize(self.tmp.as_raw_fd(), request.tmp_mib)?;
        let placed = self.place(host, request);
        match placed {
            Ok(()) => self.is_bound = true,
            Err(_) => self.folder.unmount(),
        }
        placed
    }

    fn place(&self, host: &Host, request: &BindCode) -> Result<(), Error> {
        let at = |field: &'static str, path: &str, target: &str| {
            let tree = host.tree(field, path, target)?;
            self.folder.attach(&tree)
        };
        if let Some(user) = &request.root_user {
            return root::replace(host, self.pid, &request.code, (user, self.uid));
        }
        at("code", &request.code, "task")?;
        if let Some(cache) = &request.cache {
            at("cache", cache, "cache/hearth")?;
        }
        match request.layers.as_slice() {
            [] => Ok(()),
            [layer] => at("layers", layer, "opt"),
            layers => self.folder.attach(&trees::merge_layers(host, layers)?),
        }
    }

    /// Bytes in /tmp, and whether it is as good as full.
    pub fn tmp_use(&self) -> (u64, bool) {
        tmp::usage(self.tmp.as_raw_fd())
    }
}
