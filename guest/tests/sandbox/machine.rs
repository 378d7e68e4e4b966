//! A launcher with a state folder of its own, as root or not.

use crate::{inside, UID};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Tells a platform the nice value that its launcher was started with.
pub const OWN_NICE: &str = "OWN_NICE";

/// A temporary folder with a state folder in it.
pub struct Machine {
    pub folder: String,
    pub uid: u32,
    /// A socket that root listens on, `root.sock`.
    _listener: UnixListener,
}

impl Machine {
    pub fn new() -> Machine {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("hearth-guest-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("state")).unwrap();
        std::os::unix::fs::chown(folder.join("state"), Some(UID), Some(UID)).unwrap();
        let listener = UnixListener::bind(folder.join("root.sock")).unwrap();
        fs::set_permissions(folder.join("root.sock"), fs::Permissions::from_mode(0o777)).unwrap();
        Machine { _listener: listener, folder: folder.to_string_lossy().into_owned(), uid: 0 }
    }

    fn command(&self, scenario: &str) -> Command {
        let state = format!("{}/state", self.folder);
        let tester = std::env::current_exe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth-guest"));
        command.args(["up", "--uid", &UID.to_string(), "--gid", &UID.to_string(), "--state", &state]);
        command.args(["--keep", &state, "--ready", &format!("{}/ready", self.folder)]);
        command.arg("--").arg(tester).args(["platform", scenario, &state]);
        command.env(OWN_NICE, inside::nice().to_string());
        if self.uid != 0 {
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    pub fn up(&self, scenario: &str) -> Child {
        self.command(scenario).spawn().unwrap()
    }

    /// The same, started in a cgroup.
    pub fn up_in(&self, group: &str, scenario: &str) -> Child {
        let inner = self.command(scenario);
        let script =
            "echo 0 > \"$0/cgroup.procs\" && exec setpriv --reuid \"$1\" --regid \"$1\" --clear-groups \"${@:2}\"";
        let mut command = Command::new("/bin/bash");
        command.args(["-c", script, group, &self.uid.to_string()]).arg(inner.get_program()).args(inner.get_args());
        command.spawn().unwrap()
    }

    pub fn ready(&self) -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(format!("{}/ready", self.folder)).ok()?).ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
