//! A launcher with a state folder of its own, as root, that may start this test program and QEMU as VMMs.

use crate::{QEMU, UID};
use std::fs;
use std::os::unix::fs::chown;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Machine {
    pub folder: String,
    /// Runs the launcher somewhere, e.g. in a network namespace.
    pub prefix: Vec<String>,
    /// More options of the launcher.
    pub options: Vec<String>,
}

impl Machine {
    pub fn new() -> Machine {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("hearth-vm-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("state")).unwrap();
        // A program that cannot be run.
        fs::write(folder.join("state/broken"), "").unwrap();
        chown(folder.join("state"), Some(UID), Some(UID)).unwrap();
        let tester = std::env::current_exe().unwrap();
        fs::copy(&tester, folder.join("firecracker")).unwrap();
        // One that its owner may change.
        fs::copy("/bin/true", folder.join("untrusted")).unwrap();
        chown(folder.join("untrusted"), Some(UID), Some(UID)).unwrap();
        Machine { folder: folder.to_string_lossy().into_owned(), prefix: Vec::new(), options: Vec::new() }
    }

    pub fn up(&self, scenario: &str) -> Child {
        let state = format!("{}/state", self.folder);
        let tester = std::env::current_exe().unwrap();
        let launcher = env!("CARGO_BIN_EXE_hearth-guest").to_string();
        let words: Vec<String> = self.prefix.iter().cloned().chain([launcher]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["up", "--uid", &UID.to_string(), "--gid", &UID.to_string(), "--state", &state]);
        command.args(["--keep", &state, "--source", &state, "--ready", &format!("{}/ready", self.folder)]);
        command.arg("--vmm").arg(&tester);
        command.args(["--vmm", &format!("{state}/broken")]);
        for name in ["firecracker", "untrusted"] {
            command.args(["--vmm", &format!("{}/{name}", self.folder)]);
        }
        if fs::metadata(QEMU).is_ok() {
            command.args(["--vmm", QEMU]);
        }
        command.args(&self.options);
        command.arg("--").arg(tester).args(["platform", scenario, &state]).spawn().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
