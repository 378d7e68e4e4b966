//! What is on disk of each VM, so that the next launcher finds those that outlived this one: `DIR/vms/<instance>.json`, root's alone.
//! The platform owns DIR, so the folder is believed only while it is root's, and a process only while it is the very one that was
//! written down: same boot, same pid, same start time.

use crate::error::{Context, Error};
use crate::request::is_instance;
use crate::sys::{self, Pid};
use serde_json::{json, Value};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const FOLDER: &str = "vms";
/// The process that waits for the launcher's end (reaper.rs).
const REAPER: &str = ".reaper";
const BYTES_MAX: usize = 65_536;

/// A process that can be told from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: Pid,
    /// In clock ticks since the boot.
    start_time: u64,
    boot: String,
}

impl Process {
    pub fn of(pid: Pid) -> io::Result<Process> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_string();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_time = start_time(&stat).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        Ok(Process { pid, start_time, boot })
    }

    /// A descriptor of it while it lives.
    pub fn find(&self) -> Option<OwnedFd> {
        let pidfd = sys::pidfd_open(self.pid).ok()?;
        // Looked at after the descriptor was opened, so it is the descriptor's.
        let now = Process::of(self.pid).ok()?;
        (now == *self && !sys::has_ended(pidfd.as_raw_fd())).then_some(pidfd)
    }

    fn json(&self) -> Value {
        json!({ "pid": self.pid, "startTime": self.start_time, "boot": self.boot })
    }

    fn read(value: &Value) -> Option<Process> {
        let pid = Pid::try_from(value.get("pid")?.as_u64()?).ok().filter(|pid| *pid > 1)?;
        let boot = value.get("boot")?.as_str()?.to_string();
        Some(Process { pid, start_time: value.get("startTime")?.as_u64()?, boot })
    }
}

/// Field 22 of /proc/PID/stat. The name in parentheses may hold anything.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub instance: String,
    pub process: Process,
    pub uid: u32,
    /// The platform's: its listening sockets are theirs.
    pub owner: (u32, u32),
    /// Paths of its listening sockets.
    pub sockets: Vec<String>,
    /// Of its address, when it has a way out.
    pub egress_index: Option<u16>,
    /// Its jail, below DIR.
    pub jail: Option<String>,
}

impl Record {
    fn json(&self) -> Value {
        let mut value = self.process.json();
        value["instance"] = json!(self.instance);
        value["uid"] = json!(self.uid);
        value["owner"] = json!([self.owner.0, self.owner.1]);
        value["sockets"] = json!(self.sockets);
        value["egressIndex"] = json!(self.egress_index);
        value["jail"] = json!(self.jail);
        value
    }

    fn read(value: &Value) -> Option<Record> {
        let text = |value: &Value| value.as_str().map(str::to_string);
        let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
        Some(Record {
            instance: text(value.get("instance")?).filter(|name| is_instance(name))?,
            process: Process::read(value)?,
            uid: number(value.get("uid")?)?,
            owner: (number(value.get("owner")?.get(0)?)?, number(value.get("owner")?.get(1)?)?),
            sockets: value.get("sockets")?.as_array()?.iter().map(text).collect::<Option<_>>()?,
            egress_index: value.get("egressIndex").and_then(Value::as_u64).and_then(|index| u16::try_from(index).ok()),
            jail: value.get("jail").and_then(text),
        })
    }
}

pub struct Records {
    state: OwnedFd,
    folder: OwnedFd,
}

impl Records {
    /// The folder, made when it is not there.
    pub fn open(state: &str) -> Result<Records, Error> {
        let at = || format!("open \"{state}/{FOLDER}\"");
        let open = || -> io::Result<Records> {
            let state = sys::openat(libc::AT_FDCWD, state, libc::O_PATH | libc::O_DIRECTORY, 0)?;
            if let Err(error) = sys::mkdirat(state.as_raw_fd(), FOLDER, 0o700) {
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(error);
                }
            }
            let flags = libc::O_RDONLY | libc::O_DIRECTORY;
            let within = sys::RESOLVE_BENEATH | sys::RESOLVE_NO_SYMLINKS;
            let folder = sys::openat2(state.as_raw_fd(), FOLDER, flags, 0, within)?;
            Ok(Records { state, folder })
        };
        let records = open().at("vms", at)?;
        let owner = sys::fstat(records.folder.as_raw_fd()).at("vms", at)?;
        if owner.st_uid != sys::geteuid() || owner.st_mode & 0o022 != 0 {
            let path = format!("{state}/{FOLDER}");
            return Err(Error::Path { field: "--state", path, rule: "a folder that only root may write to" });
        }
        Ok(records)
    }

    pub fn state(&self) -> i32 {
        self.state.as_raw_fd()
    }

    pub fn folder(&self) -> i32 {
        self.folder.as_raw_fd()
    }

    fn write_file(&self, name: &str, value: &Value) -> io::Result<()> {
        let folder = self.folder.as_raw_fd();
        let new = format!("{name}.new");
        let file = sys::openat(folder, &new, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW, 0o600)?;
        let text = value.to_string();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            rest = &rest[sys::write(file.as_raw_fd(), rest)?..];
        }
        sys::renameat(folder, &new, name)
    }

    fn read_file(&self, name: &str) -> Option<Value> {
        let file = sys::openat(self.folder.as_raw_fd(), name, libc::O_RDONLY | libc::O_NOFOLLOW, 0).ok()?;
        // A link to a file of root's own would be one of root's, too; the platform can make none in this folder.
        let mut bytes = vec![0u8; BYTES_MAX];
        let count = sys::read(file.as_raw_fd(), &mut bytes).ok()?;
        serde_json::from_slice(&bytes[..count]).ok()
    }

    pub fn write(&self, record: &Record) -> Result<(), Error> {
        let written = self.write_file(&format!("{}.json", record.instance), &record.json());
        written.at("vms", || format!("write down VM \"{}\"", record.instance))
    }

    pub fn remove(&self, instance: &str) {
        let _ = sys::unlinkat(self.folder.as_raw_fd(), &format!("{instance}.json"), 0);
    }

    /// Those on disk, whether they live or not.
    pub fn read(&self) -> Vec<Record> {
        let names = fs::read_dir(format!("/proc/self/fd/{}", self.folder.as_raw_fd())).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".json")).filter_map(|name| Record::read(&self.read_file(&name)?)).collect()
    }

    pub fn write_reaper(&self, reaper: &Process) -> Result<(), Error> {
        self.write_file(REAPER, &reaper.json()).at("vms", || "write down the reaper".to_string())
    }

    pub fn reaper(&self) -> Option<Process> {
        Process::read(&self.read_file(REAPER)?)
    }

    pub fn remove_reaper(&self) {
        let _ = sys::unlinkat(self.folder.as_raw_fd(), REAPER, 0);
    }

    /// Nothing is left to find.
    pub fn close(&self) {
        let _ = sys::unlinkat(self.state.as_raw_fd(), FOLDER, libc::AT_REMOVEDIR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pid: Pid) -> Record {
        Record {
            instance: "v-1".to_string(),
            process: Process::of(pid).unwrap(),
            uid: 71_001,
            owner: (999, 998),
            sockets: vec!["/d/qmp".to_string()],
            egress_index: Some(7),
            jail: None,
        }
    }

    #[test]
    fn records_are_found_again_as_they_were_written() {
        let state = std::env::temp_dir().join(format!("hearth-records-{}", std::process::id()));
        fs::create_dir(&state).unwrap();
        let path = state.to_str().unwrap();
        let records = Records::open(path).unwrap();
        let own = record(std::process::id() as Pid);
        records.write(&own).unwrap();
        records.write_reaper(&own.process).unwrap();
        fs::write(state.join("vms/bad.json"), "{").unwrap();
        fs::write(state.join("vms/worse.json"), r#"{"instance":"../x","pid":1}"#).unwrap();
        assert_eq!(records.read(), std::slice::from_ref(&own));
        assert_eq!(records.reaper(), Some(own.process));
        records.remove("v-1");
        assert!(records.read().is_empty());
        // Of others, or a link: not believed.
        fs::rename(state.join("vms"), state.join("old")).unwrap();
        std::os::unix::fs::symlink("old", state.join("vms")).unwrap();
        assert_eq!(Records::open(path).err().map(|error| error.step().to_string()).as_deref(), Some("vms"));
        fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_process_is_found_only_while_it_is_the_same() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = Process::of(child.id() as Pid).unwrap();
        assert!(process.find().is_some());
        let later = Process { start_time: process.start_time + 1, ..process.clone() };
        let other_boot = Process { boot: "another".to_string(), ..process.clone() };
        assert!(later.find().is_none() && other_boot.find().is_none());
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while process.find().is_some() {
            assert!(std::time::Instant::now() < deadline, "one that has ended and is not yet reaped was found");
        }
        child.wait().unwrap();
        assert!(process.find().is_none());
    }

    #[test]
    fn start_time_counts_fields_behind_the_name() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        assert_eq!(start_time(&format!("7 (a b) c) S {}", numbers.join(" "))), Some(22));
        assert_eq!(start_time(""), None);
    }
}
