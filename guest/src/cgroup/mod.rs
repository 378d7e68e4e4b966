//! Limits, freezing and counting of a sandbox. One folder `hearth-<id>/<instance>` in each hierarchy that is used: all of it in
//! cgroup v2 where v2 has the controllers; on a hybrid machine v1 limits and v2 freezes and kills; without either, nothing.
//!
//! No process is moved by its pid: that takes a global lock and was measured at 5-15 ms under load. A sandbox is born in its v2
//! folder (CLONE_INTO_CGROUP) and joins v1 folders itself by writing "0" to `tasks`, which needs no lock. Those are made while it
//! builds its root.

mod group;
mod member;
mod mounts;
mod peak;
mod place;
mod v1;
mod v2;

pub use group::Group;

use crate::error::{Context, Error};
use crate::sys;
use member::Member;
use mounts::parse_mounts;
use place::Place;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

const MIB: u64 = 1_048_576;

/// `Member::make` or `Member::find`.
type MemberOf = fn(&Place, &str, &'static str) -> Result<Member, Error>;

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

pub struct Cgroups {
    v1: Vec<Place>,
    v2: Option<Place>,
    /// Controllers that v2 enforces.
    v2_controllers: Vec<Controller>,
    problems: Vec<String>,
}

impl Cgroups {
    /// Makes the platform's folders, and empties those that a predecessor left, but for `kept`. What cannot be had is told by `problem`.
    pub fn open(id: &str, kept: &[String]) -> Cgroups {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = parse_mounts(&mountinfo);
        let mut all = Cgroups { v1: Vec::new(), v2: None, v2_controllers: Vec::new(), problems: Vec::new() };
        for root in mounts.v2_roots(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default()) {
            match all.open_v2(&root, id, kept) {
                Ok(place) => all.v2 = Some(place),
                Err(error) => all.problems.push(error.to_string()),
            }
            if all.v2.is_some() {
                break;
            }
        }
        for (options, root) in &mounts.v1 {
            match all.open_v1(options, root, id, kept) {
                Ok(Some(place)) => all.v1.push(place),
                Ok(None) => {}
                Err(error) => all.problems.push(error.to_string()),
            }
        }
        all.v1.iter().for_each(v1::share_all);
        all.v1.iter().chain(&all.v2).for_each(Place::sweep);
        all
    }

    /// Takes a v2 hierarchy that holds nothing but us: that of a VM. Its root keeps our own process, outside of every limit.
    pub fn whole(root: &str) -> Result<Cgroups, Error> {
        let controllers = vec![Controller::Memory, Controller::Pids, Controller::Cpu];
        let words: Vec<String> = controllers.iter().map(|controller| format!("+{}", controller.name())).collect();
        let control = format!("{root}/cgroup.subtree_control");
        fs::write(&control, words.join(" "))
            .at("cgroup.v2", || format!("write \"{}\" to \"{control}\"", words.join(" ")))?;
        let dir = sys::openat(libc::AT_FDCWD, root, libc::O_DIRECTORY | libc::O_RDONLY, 0)
            .at("cgroup.v2", || format!("open the cgroup \"{root}\""))?;
        let place = Place { path: root.to_string(), dir, controllers: Vec::new() };
        Ok(Cgroups { v1: Vec::new(), v2: Some(place), v2_controllers: controllers, problems: Vec::new() })
    }

    fn open_v2(&mut self, root: &str, id: &str, kept: &[String]) -> Result<Place, Error> {
        let place = Place::open(root, id, Vec::new(), kept)?;
        let offered = fs::read_to_string(format!("{root}/cgroup.controllers")).unwrap_or_default();
        for controller in [Controller::Memory, Controller::Pids, Controller::Cpu] {
            if !offered.split_whitespace().any(|name| name == controller.name()) {
                continue;
            }
            match v2::delegate(root, &place.path, id, controller.name()) {
                Ok(()) => self.v2_controllers.push(controller),
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        Ok(place)
    }

    fn open_v1(&self, options: &str, root: &str, id: &str, kept: &[String]) -> Result<Option<Place>, Error> {
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
        Place::open(root, id, wanted, kept).map(Some)
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

    /// Version and path (from where the hierarchy is mounted) of the folder above every sandbox's; None without limits.
    pub fn parent(&self) -> Option<(u8, String)> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = parse_mounts(&mountinfo);
        let (version, place) = match self.version() {
            "v2" => (2, self.v2.as_ref()?),
            "v1" => (1, self.v1.first()?),
            _ => return None,
        };
        let roots = mounts.v2.iter().chain(mounts.v1.iter().map(|(_, root)| root));
        let below = |root: &String| place.path.strip_prefix(root.as_str())?.strip_prefix('/').map(str::to_string);
        Some((version, roots.filter_map(below).min_by_key(String::len)?))
    }

    /// Limits as `file=value`, as far as they are enforced.
    pub fn limits(&self, memory_mib: u64, cpu_share: u64, pids_max: u64) -> Vec<String> {
        let is_v2 = self.version() == "v2";
        let limit = |controller: Controller| match (controller, is_v2) {
            (Controller::Memory, false) => format!("memory.limit_in_bytes={}", memory_mib * MIB),
            (Controller::Memory, true) => format!("memory.max={}", memory_mib * MIB),
            (Controller::Pids, _) => format!("pids.max={pids_max}"),
            (_, false) => format!("cpu.shares={cpu_share}"),
            (_, true) => format!("cpu.weight={}", v2::weight(cpu_share)),
        };
        let all = [Controller::Memory, Controller::Pids, Controller::Cpu];
        let is_here =
            |controller: &Controller| self.has(*controller) && (self.version_of(*controller) == "v2") == is_v2;
        all.into_iter().filter(is_here).map(limit).collect()
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
        let mut group = self.begin(instance)?;
        self.complete(&mut group)?;
        Ok(group)
    }

    /// Those that must be there before its first process is forked: `v2_fd` of them is where that begins. The rest `complete` makes.
    pub fn begin(&self, instance: &str) -> Result<Group, Error> {
        let mut group = Group::of(instance);
        self.add_v2(&mut group, Member::make)?;
        Ok(group)
    }

    pub fn complete(&self, group: &mut Group) -> Result<(), Error> {
        self.add_v1(group, Member::make)
    }

    /// Those of one that a predecessor made.
    pub fn find(&self, instance: &str) -> Result<Group, Error> {
        let mut group = Group::of(instance);
        self.add_v2(&mut group, Member::find)?;
        self.add_v1(&mut group, Member::find)?;
        Ok(group)
    }

    /// Puts this process into the v1 folders of `instance`, once `complete` has made them.
    pub fn join(&self, instance: &str) -> io::Result<()> {
        for place in &self.v1 {
            let file = sys::openat(place.dir.as_raw_fd(), &format!("{instance}/tasks"), libc::O_WRONLY, 0)?;
            sys::write(file.as_raw_fd(), b"0")?;
        }
        Ok(())
    }

    fn add_v2(&self, group: &mut Group, member: MemberOf) -> Result<(), Error> {
        if let Some(place) = &self.v2 {
            group.v2 = Some((self.v2_controllers.clone(), member(place, &group.instance, "cgroup.v2")?));
        }
        Ok(())
    }

    fn add_v1(&self, group: &mut Group, member: MemberOf) -> Result<(), Error> {
        for place in &self.v1 {
            let member = member(place, &group.instance, place.step())?;
            group.v1.push((place.controllers.clone(), member));
        }
        Ok(())
    }

    /// Descriptors of the platform's folders, which hold their locks.
    pub fn fds(&self) -> Vec<RawFd> {
        self.v1.iter().chain(&self.v2).map(|place| place.dir.as_raw_fd()).collect()
    }

    /// Removes the platform's own folders, with all that is in them but for `kept`.
    pub fn close(&self, kept: &[String]) {
        for place in self.v1.iter().chain(&self.v2) {
            place.clear(kept);
            let _ = fs::remove_dir(&place.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::group::Counters;
    use super::*;

    #[test]
    fn without_a_hierarchy_nothing_is_limited_frozen_or_in_the_way_of_a_thaw() {
        let cgroups = Cgroups { v1: Vec::new(), v2: None, v2_controllers: Vec::new(), problems: Vec::new() };
        assert_eq!((cgroups.version(), cgroups.can_freeze()), ("none", false));
        let mut group = cgroups.make("i-1").unwrap();
        assert_eq!((group.limit_memory(64), group.limit_pids(32), group.share_cpu(1024)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(group.set_frozen(true).unwrap_err().step(), "freezer");
        assert_eq!(group.set_frozen(false), Ok(()));
        assert_eq!((group.is_frozen(), group.remove()), (false, true));
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
        assert!(cgroups.join("i-1").is_ok() && group.v2_fd().is_some());
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
}
