//! Limits, freezing and counting of a sandbox. One folder `hearth-<id>/<instance>` in each hierarchy that is used: all of it in
//! cgroup v2 where v2 has the controllers; on a hybrid machine v1 limits and v2 freezes and kills; without either, nothing.
//!
//! No process is moved by its pid: that takes a global lock and was measured at 5-15 ms under load. A sandbox is born in its v2
//! folder (CLONE_INTO_CGROUP) and joins v1 folders itself by writing "0" to `tasks`, which needs no lock.

use crate::error::{Context, Error};
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

const MIB: u64 = 1_048_576;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    Memory,
    Pids,
    Cpu,
    Cpuacct,
    Freezer,
}

impl Controller {
    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Freezer => "freezer",
        }
    }

    fn step(self) -> &'static str {
        match self {
            Controller::Memory => "cgroup.memory",
            Controller::Pids => "cgroup.pids",
            Controller::Cpu => "cgroup.cpu",
            Controller::Cpuacct => "cgroup.cpuacct",
            Controller::Freezer => "cgroup.freezer",
        }
    }
}

/// The platform's own folder in one hierarchy.
struct Place {
    path: String,
    dir: OwnedFd,
    /// v1: what this hierarchy controls.
    controllers: Vec<Controller>,
}

pub struct Cgroups {
    v1: Vec<Place>,
    v2: Option<Place>,
    /// Controllers that v2 enforces.
    v2_controllers: Vec<Controller>,
    problems: Vec<String>,
}

/// Where cgroups are mounted, from /proc/self/mountinfo.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    pub v2: Option<String>,
    /// (options, mount point)
    pub v1: Vec<(String, String)>,
}

pub fn parse_mounts(mountinfo: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        let mut words = right.split(' ');
        match (words.next(), words.nth(1)) {
            (Some("cgroup2"), _) if mounts.v2.is_none() => mounts.v2 = Some(point.to_string()),
            (Some("cgroup"), Some(options)) => mounts.v1.push((options.to_string(), point.to_string())),
            _ => {}
        }
    }
    mounts
}

impl Cgroups {
    /// Makes the platform's folders, and empties those that a predecessor left. What cannot be had is told by `problem`.
    pub fn open(id: &str) -> Cgroups {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = parse_mounts(&mountinfo);
        let mut all = Cgroups { v1: Vec::new(), v2: None, v2_controllers: Vec::new(), problems: Vec::new() };
        if let Some(root) = &mounts.v2 {
            match all.open_v2(root, id) {
                Ok(place) => all.v2 = Some(place),
                Err(error) => all.problems.push(error.to_string()),
            }
        }
        for (options, root) in &mounts.v1 {
            match all.open_v1(options, root, id) {
                Ok(Some(place)) => all.v1.push(place),
                Ok(None) => {}
                Err(error) => all.problems.push(error.to_string()),
            }
        }
        all.v1.iter().chain(&all.v2).for_each(Place::sweep);
        all
    }

    fn open_v2(&mut self, root: &str, id: &str) -> Result<Place, Error> {
        let place = Place::open(root, id, Vec::new())?;
        let offered = fs::read_to_string(format!("{root}/cgroup.controllers")).unwrap_or_default();
        for controller in [Controller::Memory, Controller::Pids, Controller::Cpu] {
            if !offered.split_whitespace().any(|name| name == controller.name()) {
                continue;
            }
            match delegate(root, &place.path, id, controller.name()) {
                Ok(()) => self.v2_controllers.push(controller),
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        Ok(place)
    }

    fn open_v1(&self, options: &str, root: &str, id: &str) -> Result<Option<Place>, Error> {
        let mut wanted = vec![Controller::Memory, Controller::Pids, Controller::Cpu];
        if self.v2.is_none() {
            wanted.extend([Controller::Cpuacct, Controller::Freezer]);
        }
        wanted.retain(|controller| {
            !self.v2_controllers.contains(controller) && options.split(',').any(|name| name == controller.name())
        });
        if wanted.is_empty() {
            return Ok(None);
        }
        Place::open(root, id, wanted).map(Some)
    }

    pub fn version(&self) -> &'static str {
        if self.v2_controllers.contains(&Controller::Memory) {
            "v2"
        } else if !self.v1.is_empty() {
            "v1"
        } else {
            "none"
        }
    }

    pub fn has(&self, controller: Controller) -> bool {
        self.v2_controllers.contains(&controller) || self.v1.iter().any(|place| place.controllers.contains(&controller))
    }

    pub fn version_of(&self, controller: Controller) -> &'static str {
        if self.v2_controllers.contains(&controller) {
            "v2"
        } else {
            "v1"
        }
    }

    pub fn can_freeze(&self) -> bool {
        self.v2.is_some() || self.has(Controller::Freezer)
    }

    /// Why something is missing.
    pub fn problem(&self) -> String {
        if self.problems.is_empty() {
            "no cgroup hierarchy with this controller is mounted".to_string()
        } else {
            self.problems.join(" ")
        }
    }

    /// Makes the folders of one sandbox, without limits.
    pub fn make(&self, instance: &str) -> Result<Group, Error> {
        let mut group = Group { instance: instance.to_string(), v1: Vec::new(), v2: None, is_removed: false };
        for place in &self.v1 {
            let step = place.controllers.first().map_or("cgroup", |controller| controller.step());
            let member = Member::make(place, instance, step)?;
            group.v1.push((place.controllers.clone(), member));
        }
        if let Some(place) = &self.v2 {
            group.v2 = Some((self.v2_controllers.clone(), Member::make(place, instance, "cgroup.v2")?));
        }
        Ok(group)
    }

    /// Removes the platform's own folders; they must be empty.
    pub fn close(&self) {
        for place in self.v1.iter().chain(&self.v2) {
            place.clear();
            let _ = fs::remove_dir(&place.path);
        }
    }
}

impl Place {
    fn open(root: &str, id: &str, controllers: Vec<Controller>) -> Result<Place, Error> {
        let path = format!("{root}/hearth-{id}");
        let step = controllers.first().map_or("cgroup.v2", |controller| controller.step());
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::os(step, format!("make the cgroup \"{path}\""), error));
            }
            _ => {}
        }
        let dir = sys::openat(libc::AT_FDCWD, &path, libc::O_DIRECTORY | libc::O_RDONLY, 0)
            .at(step, || format!("open the cgroup \"{path}\""))?;
        sys::try_lock(dir.as_raw_fd()).at(step, || format!("lock the cgroup \"{path}\""))?;
        let place = Place { path, dir, controllers };
        place.clear();
        Ok(place)
    }

    /// Removes the folders of other launchers that were killed and not started again. A living one holds a lock on its own.
    fn sweep(&self) {
        let Some((root, own)) = self.path.rsplit_once('/') else { return };
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{root}/{name}");
            let is_theirs = name != own && name.strip_prefix("hearth-").is_some_and(|id| id.len() == 12);
            if !is_theirs {
                continue;
            }
            let Ok(dir) = sys::openat(libc::AT_FDCWD, &path, libc::O_DIRECTORY | libc::O_RDONLY, 0) else { continue };
            if sys::try_lock(dir.as_raw_fd()).is_ok() {
                let left = Place { path, dir, controllers: Vec::new() };
                left.clear();
                let _ = fs::remove_dir(&left.path);
            }
        }
    }

    /// Kills and removes what a predecessor left. Gives up after 3 s: `make` then says which folder exists.
    fn clear(&self) {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let mut is_empty = true;
            for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
                if !entry.file_type().map(|kind| kind.is_dir()).unwrap_or(false) {
                    continue;
                }
                let path = entry.path();
                kill_all(&path);
                is_empty &= fs::remove_dir(&path).is_ok();
            }
            if is_empty || Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn kill_all(group: &std::path::Path) {
    let _ = fs::write(group.join("freezer.state"), "THAWED");
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Ok(pid) = pid.parse() {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
    }
}

/// Lets children of the platform's folder use a v2 controller.
fn delegate(root: &str, path: &str, id: &str, controller: &str) -> Result<(), Error> {
    let word = format!("+{controller}");
    let control = format!("{root}/cgroup.subtree_control");
    let written = match fs::write(&control, &word) {
        // A container's root holds processes, so it may not have children with controllers: they move to a leaf of their own.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            move_processes(root, &format!("{root}/hearth-{id}-main")).and_then(|()| fs::write(&control, &word))
        }
        written => written,
    };
    written
        .and_then(|()| fs::write(format!("{path}/cgroup.subtree_control"), &word))
        .at("cgroup.v2", || format!("enable the controller \"{controller}\" below \"{root}\""))
}

fn move_processes(from: &str, to: &str) -> io::Result<()> {
    if let Err(error) = fs::create_dir(to) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
    }
    for pid in fs::read_to_string(format!("{from}/cgroup.procs"))?.lines() {
        fs::write(format!("{to}/cgroup.procs"), pid)?;
    }
    Ok(())
}

/// One sandbox's folder in one hierarchy.
struct Member {
    parent: RawFd,
    dir: OwnedFd,
}

impl Member {
    fn make(place: &Place, instance: &str, step: &'static str) -> Result<Member, Error> {
        let parent = place.dir.as_raw_fd();
        let path = || format!("make the cgroup \"{}/{instance}\"", place.path);
        sys::mkdirat(parent, instance, 0o755).at(step, path)?;
        let dir = sys::openat(parent, instance, libc::O_DIRECTORY | libc::O_RDONLY, 0).at(step, path)?;
        Ok(Member { parent, dir })
    }

    fn write(&self, step: &'static str, file: &str, value: &str) -> Result<(), Error> {
        let write = || {
            let fd = sys::openat(self.dir.as_raw_fd(), file, libc::O_WRONLY, 0)?;
            sys::write(fd.as_raw_fd(), value.as_bytes()).map(drop)
        };
        write().at(step, || format!("write \"{value}\" to {file}"))
    }

    fn read(&self, file: &str) -> io::Result<String> {
        let fd = sys::openat(self.dir.as_raw_fd(), file, libc::O_RDONLY, 0)?;
        let mut buffer = [0u8; 4096];
        let length = sys::read(fd.as_raw_fd(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn number(&self, file: &str) -> u64 {
        self.read(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Value of a line `key value` in a file of such lines.
    fn line(&self, file: &str, key: &str) -> u64 {
        self.read(file).map(|text| value_of(&text, key)).unwrap_or(0)
    }
}

fn value_of(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub memory_bytes: u64,
    pub memory_peak_bytes: u64,
    pub cpu_ms: u64,
    pub pids: u64,
    pub oom_kills: u64,
}

/// The folders of one sandbox in all hierarchies.
pub struct Group {
    instance: String,
    v1: Vec<(Vec<Controller>, Member)>,
    v2: Option<(Vec<Controller>, Member)>,
    is_removed: bool,
}

enum Home<'a> {
    V1(&'a Member),
    V2(&'a Member),
}

impl Group {
    fn home(&self, controller: Controller) -> Option<Home<'_>> {
        if let Some((controllers, member)) = &self.v2 {
            if controllers.contains(&controller) {
                return Some(Home::V2(member));
            }
        }
        let (_, member) = self.v1.iter().find(|(controllers, _)| controllers.contains(&controller))?;
        Some(Home::V1(member))
    }

    /// The v2 folder for CLONE_INTO_CGROUP.
    pub fn v2_fd(&self) -> Option<RawFd> {
        self.v2.as_ref().map(|(_, member)| member.dir.as_raw_fd())
    }

    /// Files that the sandbox's first process writes "0" to.
    pub fn join_files(&self) -> Result<Vec<OwnedFd>, Error> {
        let open = |(controllers, member): &(Vec<Controller>, Member)| {
            let step = controllers.first().map_or("cgroup", |controller| controller.step());
            sys::openat(member.dir.as_raw_fd(), "tasks", libc::O_WRONLY, 0).at(step, || "open tasks".to_string())
        };
        self.v1.iter().map(open).collect()
    }

    /// Limits memory with swap. Lowering below what is in use fails with EBUSY on v1, and reclaims or kills on v2.
    pub fn limit_memory(&self, mib: u64) -> Result<(), Error> {
        const STEP: &str = "cgroup.memory";
        let bytes = (mib * MIB).to_string();
        match self.home(Controller::Memory) {
            None => Ok(()),
            Some(Home::V2(member)) => {
                member.write(STEP, "memory.max", &bytes)?;
                // Absent without swap support.
                let _ = member.write(STEP, "memory.swap.max", "0");
                Ok(())
            }
            Some(Home::V1(member)) => {
                // Neither may exceed the other: memory with swap goes first when raised, last when lowered.
                const LIMIT: &str = "memory.limit_in_bytes";
                const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
                let has_swap = member.read(WITH_SWAP).is_ok();
                if has_swap && member.number(WITH_SWAP) < mib * MIB {
                    member.write(STEP, WITH_SWAP, &bytes)?;
                    return member.write(STEP, LIMIT, &bytes);
                }
                member.write(STEP, LIMIT, &bytes)?;
                if has_swap {
                    member.write(STEP, WITH_SWAP, &bytes)?;
                }
                Ok(())
            }
        }
    }

    pub fn limit_pids(&self, max: u64) -> Result<(), Error> {
        match self.home(Controller::Pids) {
            Some(Home::V1(member) | Home::V2(member)) => member.write("cgroup.pids", "pids.max", &max.to_string()),
            None => Ok(()),
        }
    }

    /// `share` is relative: 1024 for a CPU, as v1 counts.
    pub fn share_cpu(&self, share: u64) -> Result<(), Error> {
        match self.home(Controller::Cpu) {
            Some(Home::V1(member)) => member.write("cgroup.cpu", "cpu.shares", &share.to_string()),
            Some(Home::V2(member)) => member.write("cgroup.cpu", "cpu.weight", &weight(share).to_string()),
            None => Ok(()),
        }
    }

    pub fn set_frozen(&self, is_frozen: bool) -> Result<(), Error> {
        if let Some((_, member)) = &self.v2 {
            return member.write("freezer", "cgroup.freeze", if is_frozen { "1" } else { "0" });
        }
        match self.home(Controller::Freezer) {
            Some(Home::V1(member) | Home::V2(member)) => {
                member.write("freezer", "freezer.state", if is_frozen { "FROZEN" } else { "THAWED" })
            }
            None => Err(Error::Missing {
                feature: "freezer",
                reason: "there is no cgroup to freeze".to_string(),
                fix: "Run as root with cgroups mounted.",
            }),
        }
    }

    pub fn is_frozen(&self) -> bool {
        if let Some((_, member)) = &self.v2 {
            return member.line("cgroup.events", "frozen") == 1;
        }
        match self.home(Controller::Freezer) {
            Some(Home::V1(member) | Home::V2(member)) => {
                member.read("freezer.state").map(|state| state.trim() == "FROZEN").unwrap_or(false)
            }
            None => false,
        }
    }

    /// A v1 freezer holds back even SIGKILL.
    pub fn thaw_for_kill(&self) {
        if self.v2.is_none() && self.home(Controller::Freezer).is_some() {
            let _ = self.set_frozen(false);
        }
    }

    pub fn oom_kills(&self) -> u64 {
        match self.home(Controller::Memory) {
            Some(Home::V1(member)) => member.line("memory.oom_control", "oom_kill"),
            Some(Home::V2(member)) => member.line("memory.events", "oom_kill"),
            None => 0,
        }
    }

    /// What the sandbox used so far. With `reset_peak` the peak counts from now on (on v2 from kernel 6.12 on).
    pub fn counters(&self, reset_peak: bool) -> Counters {
        let mut counters = Counters { oom_kills: self.oom_kills(), ..Counters::default() };
        match self.home(Controller::Memory) {
            Some(Home::V1(member)) => {
                counters.memory_bytes = member.number("memory.usage_in_bytes");
                counters.memory_peak_bytes = member.number("memory.max_usage_in_bytes");
                if reset_peak {
                    let _ = member.write("cgroup.memory", "memory.max_usage_in_bytes", "0");
                }
            }
            Some(Home::V2(member)) => {
                counters.memory_bytes = member.number("memory.current");
                counters.memory_peak_bytes = member.number("memory.peak");
                if reset_peak {
                    let _ = member.write("cgroup.memory", "memory.peak", "0");
                }
            }
            None => {}
        }
        if let Some(Home::V1(member) | Home::V2(member)) = self.home(Controller::Pids) {
            counters.pids = member.number("pids.current");
        }
        if let Some((_, member)) = &self.v2 {
            counters.cpu_ms = member.line("cpu.stat", "usage_usec") / 1_000;
        } else if let Some(Home::V1(member)) = self.home(Controller::Cpuacct) {
            counters.cpu_ms = member.number("cpuacct.usage") / 1_000_000;
        }
        counters
    }

    /// Removes the folders; false while the kernel still holds one.
    pub fn remove(&mut self) -> bool {
        let mut is_gone = true;
        let members = self.v1.iter().map(|(_, member)| member).chain(self.v2.as_ref().map(|(_, member)| member));
        for member in members {
            if let Err(error) = sys::unlinkat(member.parent, &self.instance, libc::AT_REMOVEDIR) {
                is_gone &= error.raw_os_error() == Some(libc::ENOENT);
            }
        }
        self.is_removed = is_gone;
        is_gone
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_removed {
            self.remove();
        }
    }
}

/// v2's weight (1 to 10000) for v1's shares (2 to 262144), as systemd and runc convert.
fn weight(share: u64) -> u64 {
    1 + (share.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_mounts_finds_both_versions() {
        let text = "\
22 20 0:20 / /proc rw,relatime - proc proc rw
33 20 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
34 33 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 33 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 33 0:31 / /sys/fs/cgroup/unified rw shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate
37 33 0:31 / /other rw - cgroup2 cgroup2 rw
";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.v2.as_deref(), Some("/sys/fs/cgroup/unified"));
        let v1 = |options: &str, point: &str| (options.to_string(), point.to_string());
        assert_eq!(
            mounts.v1,
            [v1("rw,cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"), v1("rw,memory", "/sys/fs/cgroup/memory")]
        );
        assert_eq!(parse_mounts("nonsense\n - \n"), Mounts::default());
    }

    #[test]
    fn value_of_reads_whole_keys_only() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(value_of(text, "oom_kill"), 3);
        assert_eq!(value_of(text, "oom"), 0);
        assert_eq!(value_of("frozen x\n", "frozen"), 0);
    }

    /// The v2 backend against plain files: this machine's kernel may have no v2 controllers to try it on.
    #[test]
    fn a_v2_group_writes_and_reads_its_files() {
        let root = std::env::temp_dir().join(format!("hearth-cgroup-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = root.to_string_lossy().into_owned();
        let dir = sys::openat(libc::AT_FDCWD, &path, libc::O_DIRECTORY | libc::O_RDONLY, 0).unwrap();
        let all = vec![Controller::Memory, Controller::Pids, Controller::Cpu];
        let place = Place { path, dir, controllers: Vec::new() };
        let cgroups = Cgroups { v1: Vec::new(), v2: Some(place), v2_controllers: all, problems: Vec::new() };
        assert_eq!(cgroups.version(), "v2");
        let mut group = cgroups.make("i-1").unwrap();
        assert!(group.join_files().unwrap().is_empty() && group.v2_fd().is_some());
        let file = |name: &str| root.join("i-1").join(name);
        for (name, text) in [
            ("memory.max", ""),
            ("pids.max", ""),
            ("cpu.weight", ""),
            ("cgroup.freeze", ""),
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("memory.events", "low 0\noom 1\noom_kill 2\n"),
            ("pids.current", "3\n"),
            ("cpu.stat", "usage_usec 5000\nuser_usec 1\n"),
            ("cgroup.events", "populated 1\nfrozen 1\n"),
        ] {
            fs::write(file(name), text).unwrap();
        }
        group.limit_memory(64).unwrap();
        group.limit_pids(32).unwrap();
        group.share_cpu(1024).unwrap();
        group.set_frozen(true).unwrap();
        let written = ["memory.max", "pids.max", "cpu.weight", "cgroup.freeze"]
            .map(|name| fs::read_to_string(file(name)).unwrap());
        assert_eq!(written, ["67108864", "32", "39", "1"]);
        assert!(group.is_frozen());
        let wanted = Counters { memory_bytes: 4096, memory_peak_bytes: 8192, cpu_ms: 5, pids: 3, oom_kills: 2 };
        assert_eq!(group.counters(false), wanted);
        assert!(!group.remove());
        fs::remove_dir_all(&root).unwrap();
        assert!(group.remove());
    }

    #[test]
    fn weight_keeps_the_ends_and_the_order() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(262_144), 10_000);
        assert_eq!(weight(1024), 39);
        assert!(weight(2048) > weight(1024));
    }
}
