//! One sandbox as the launcher holds it: made by `Instance::spawn`, given its code by `bind`, freed by `free`. Whatever fails half
//! way gives back what it took: folders, cgroups and descriptors free themselves when dropped.

use crate::cgroup::{Cgroups, Group};
use crate::error::{Context, Error};
use crate::host::{read_only_tree, Host};
use crate::netns::Pool;
use crate::request::{BindCode, Spawn};
use crate::sandbox::{self, Plan, Status, Tree, STATUS_BYTES};
use crate::sys::{self, Ended, Pid};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Where binds appear, below the instance's `var`.
const BINDABLE: [&str; 3] = ["task", "cache/hearth", "opt"];

/// The two channels of a sandbox, connected.
pub struct Channels {
    pub runtime: OwnedFd,
    pub supervisor: OwnedFd,
}

impl Channels {
    /// Connects to the platform's listening sockets; a listener of another user is refused, whatever path leads to it.
    pub fn connect(host: &Host, request: &Spawn) -> Result<Channels, Error> {
        let connect = |path: &str| {
            let target = sys::openat(libc::AT_FDCWD, path, libc::O_PATH, 0);
            let socket = target.and_then(|target| sys::connect_unix(target.as_raw_fd()));
            let socket = socket.at("channel", || format!("connect to \"{path}\""))?;
            let uid = sys::peer_uid(socket.as_raw_fd()).at("channel", || format!("ask who listens on \"{path}\""))?;
            if uid != host.platform_uid {
                return Err(Error::Peer { path: path.to_string(), uid, wanted: host.platform_uid });
            }
            Ok(socket)
        };
        let runtime = connect(&request.channel)?;
        // A runtime may read it plainly; the supervisor makes its own non-blocking again.
        sys::set_blocking(runtime.as_raw_fd()).at("channel", || "make the channel blocking".to_string())?;
        Ok(Channels { runtime, supervisor: connect(&request.supervisor)? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Until the runtime has been exec'd.
    Starting,
    Running,
    /// Killed or ended; not yet reaped.
    Ending,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exit {
    pub ended: Option<Ended>,
    pub is_oom: bool,
}

pub struct Instance {
    pub id: String,
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub status: OwnedFd,
    pub phase: Phase,
    pub failure: Option<Error>,
    pub group: Group,
    pub network: Option<OwnedFd>,
    pub is_bound: bool,
    /// Requests waiting: for the start, for the end, for the network.
    pub spawn_request: Option<u64>,
    pub kill_requests: Vec<u64>,
    pub bind_request: Option<u64>,
    pub egress_index: Option<u16>,
    pub is_kill_asked: bool,
    pub is_probe: bool,
    /// Frozen since, while the kernel has not yet stopped everything: request and deadline.
    pub freezing: Option<(u64, Instant)>,
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
        let group = cgroups.make(&request.instance)?;
        group.limit_memory(request.memory_mib)?;
        group.limit_pids(request.pids_max)?;
        let joins = group.join_files()?;
        let network = pool.and_then(Pool::take);
        let folder = Folder::make(host, &request.instance)?;
        let trees = trees(host, &folder, request)?;
        let devices = if host.can_mknod { Vec::new() } else { device_trees()? };
        let uid = if host.is_root { request.uid } else { sys::geteuid() };
        let tmp = make_tmp(request.tmp_mib, uid)?;
        let (status, status_end) = sys::pipe(libc::O_NONBLOCK).at("status", || "make a pipe".to_string())?;
        let plan = Plan {
            joins: &joins,
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
        };
        let Some((pid, pidfd)) = host.fork_sandbox(group.v2_fd())? else { sandbox::run(&plan) };
        Ok(Instance {
            id: request.instance.clone(),
            pid,
            pidfd,
            status,
            phase: Phase::Starting,
            failure: None,
            group,
            network,
            is_bound: false,
            spawn_request: None,
            kill_requests: Vec::new(),
            bind_request: None,
            egress_index: None,
            is_kill_asked: false,
            is_probe: false,
            freezing: None,
            tmp,
            folder,
            told: None,
        })
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
                Some(Status::Started) => has_started = self.failure.is_none() && self.phase == Phase::Starting,
                Some(Status::Ended(ended)) => self.told = Some(ended),
                None => {}
            }
        }
        if has_started {
            self.phase = Phase::Running;
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
        resize_tmp(self.tmp.as_raw_fd(), request.tmp_mib)?;
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
        at("code", &request.code, "task")?;
        if let Some(cache) = &request.cache {
            at("cache", cache, "cache/hearth")?;
        }
        match request.layers.as_slice() {
            [] => Ok(()),
            [layer] => at("layers", layer, "opt"),
            layers => self.folder.attach(&merge_layers(host, layers)?),
        }
    }

    /// Bytes in /tmp, and whether it is as good as full.
    pub fn tmp_use(&self) -> (u64, bool) {
        let Ok(stat) = sys::fstatfs(self.tmp.as_raw_fd()) else { return (0, false) };
        let block = stat.f_bsize as u64;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        let is_full = used * 100 >= stat.f_blocks * 99 || stat.f_ffree == 0;
        (used * block, is_full)
    }
}

/// What a sandbox sees of the host: /usr and its kin, `etc`, its own `var`, and the binds of the request.
fn trees(host: &Host, folder: &Folder, request: &Spawn) -> Result<Vec<Tree>, Error> {
    let mut trees = vec![host_tree("/usr")?];
    for path in &host.root_folders {
        trees.push(host_tree(path)?);
    }
    trees.push(host.tree("etc", &request.etc, "etc")?);
    trees.push(folder.tree()?);
    for bind in &request.binds {
        trees.push(host.tree("binds", &bind.source, &bind.target)?);
    }
    Ok(trees)
}

/// A folder that every sandbox sees, whatever `--source` says.
fn host_tree(path: &str) -> Result<Tree, Error> {
    read_only_tree(libc::AT_FDCWD, path, path).at("binds", || format!("bind \"{path}\""))
}

fn device_trees() -> Result<Vec<Tree>, Error> {
    let tree = |name: &&str| {
        let path = format!("/dev/{name}");
        let mount = sys::open_tree(libc::AT_FDCWD, &path, false).at("dev", || format!("bind \"{path}\""))?;
        Ok(Tree { target: path[1..].to_string(), mount, is_dir: false })
    };
    DEVICES.iter().map(tree).collect()
}

/// The sandbox's /tmp, detached: this descriptor stays in the launcher to measure and resize it.
fn make_tmp(mib: u64, uid: u32) -> Result<OwnedFd, Error> {
    let uid = uid.to_string();
    let (size, inodes) = tmp_size(mib);
    let options = [
        ("size", size.as_str()),
        ("nr_inodes", inodes.as_str()),
        ("mode", "1777"),
        ("uid", uid.as_str()),
        ("gid", uid.as_str()),
    ];
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
    let made = sys::new_mount("tmpfs", &options, attributes);
    // In a user namespace the gid may not be mapped.
    made.or_else(|_| sys::new_mount("tmpfs", &options[..3], attributes))
        .at("tmp", || format!("make a tmpfs of {mib} MiB"))
}

fn resize_tmp(tmp: RawFd, mib: u64) -> Result<(), Error> {
    let (size, inodes) = tmp_size(mib);
    sys::reconfigure(tmp, &[("size", &size), ("nr_inodes", &inodes)]).at("tmp", || format!("resize /tmp to {mib} MiB"))
}

/// Size, and as many inodes as there are pages: files of nothing cost kernel memory too.
fn tmp_size(mib: u64) -> (String, String) {
    (format!("{mib}m"), (mib * 256).to_string())
}

/// Later layers cover earlier ones.
fn merge_layers(host: &Host, layers: &[String]) -> Result<Tree, Error> {
    let opened: Vec<OwnedFd> = layers.iter().map(|path| host.open_source("layers", path)).collect::<Result<_, _>>()?;
    // By descriptor: a path may hold the ":" and "," that separate options.
    let lower: Vec<String> = opened.iter().rev().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    let mount = sys::new_mount("overlay", &[("lowerdir", &lower.join(":"))], sys::READ_ONLY);
    let mount = mount.at("layers", || format!("merge {} layers", layers.len()))?;
    Ok(Tree { target: "opt".to_string(), mount, is_dir: true })
}

/// `<instance>` below the launcher's work folder. Its `var` is seen by the sandbox as a slave: mounts made here appear there.
struct Folder {
    work: RawFd,
    instance: String,
}

impl Folder {
    fn make(host: &Host, instance: &str) -> Result<Folder, Error> {
        let folder = Folder { work: host.work.as_raw_fd(), instance: instance.to_string() };
        let make = || -> std::io::Result<()> {
            sys::mkdirat(folder.work, instance, 0o755)?;
            for name in ["var", "var/task", "var/cache", "var/cache/hearth", "var/opt", "var/runtime"] {
                sys::mkdirat(folder.work, &format!("{instance}/{name}"), 0o755)?;
            }
            sys::symlinkat("/tmp", folder.work, &format!("{instance}/var/tmp"))
        };
        make().at("folder", || format!("make the folder of instance \"{instance}\""))?;
        Ok(folder)
    }

    /// `var` for the sandbox: read-only there, following what is mounted here.
    fn tree(&self) -> Result<Tree, Error> {
        let make = || -> std::io::Result<Tree> {
            let mount = sys::open_tree(self.work, &format!("{}/var", self.instance), false)?;
            sys::mount_setattr(mount.as_raw_fd(), sys::READ_ONLY, libc::MS_SLAVE, false)?;
            Ok(Tree { target: "var".to_string(), mount, is_dir: true })
        };
        make().at("var", || format!("bind the folder of instance \"{}\"", self.instance))
    }

    fn attach(&self, tree: &Tree) -> Result<(), Error> {
        let path = format!("{}/var/{}", self.instance, tree.target);
        sys::move_mount(tree.mount.as_raw_fd(), self.work, &path).at("bind", || format!("mount /var/{}", tree.target))
    }

    fn unmount(&self) {
        for name in BINDABLE {
            let _ = sys::unmount(&format!("/proc/self/fd/{}/{}/var/{name}", self.work, self.instance));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.unmount();
        let _ = sys::unlinkat(self.work, &format!("{}/var/tmp", self.instance), 0);
        for name in ["var/task", "var/cache/hearth", "var/cache", "var/opt", "var/runtime", "var", ""] {
            let path = format!("{}/{name}", self.instance);
            let _ = sys::unlinkat(self.work, path.trim_end_matches('/'), libc::AT_REMOVEDIR);
        }
    }
}
