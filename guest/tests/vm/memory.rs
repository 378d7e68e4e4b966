//! RAM templates.

use crate::spawn::spawn;
use crate::support::Platform;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::Instant;

fn ram(platform: &Platform, mib: u64, used_mib: u64) -> String {
    let path = format!("{}/ram", platform.folder);
    let file = fs::File::create(&path).unwrap();
    file.set_len(mib << 20).unwrap();
    for index in 0..used_mib {
        // In pieces with holes between them, as a guest leaves its memory.
        file.write_all_at(&[b'T'; 1 << 20], (index * mib / used_mib.max(1)) << 20).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

pub fn templates(platform: &mut Platform) {
    let path = ram(platform, 64, 8);
    platform.must("vm_template", json!({ "name": "rt-1", "path": path }));
    fs::remove_file(path).unwrap();
    let again = platform.ask("vm_template", json!({ "name": "rt-1", "path": "/bin/sh" }));
    assert_eq!(again["error"], "Template \"rt-1\" exists already.");
    let clone = json!({ "memory": { "template": "rt-1" } });
    let mut vms = ["v-1", "v-2"].map(|id| spawn(platform, id, clone.clone()));
    for vm in &mut vms {
        assert_eq!(vm.ask("reopen 4"), (64 << 20).to_string());
        // What one writes, no other sees; and none can write to what they share.
        assert_eq!(vm.ask("map 4 private 0"), "TTTT");
        assert_eq!(vm.ask("map 4 private 0"), "TTTT");
        assert_eq!(vm.ask("map 4 shared 0"), format!("error {}", libc::EPERM));
        assert_eq!(vm.ask("store 4 0 x"), format!("error {}", libc::EPERM));
    }
    platform.must("vm_forget", json!({ "name": "rt-1" }));
    assert_eq!(vms[1].ask("map 4 private 0"), "TTTT");
    let gone = spawn_error(platform, "rt-1");
    assert_eq!(gone, "There is no template \"rt-1\".");
    for (path, text) in [
        (format!("{}/none", platform.folder), "No such file or directory."),
        (format!("{}/run", platform.folder), "must be a plain file of 4 KiB to 64 GiB."),
        ("/bin/sh".to_string(), "must be below a --source or --keep path."),
    ] {
        let reply = platform.ask("vm_template", json!({ "name": "rt-2", "path": path }));
        assert!(reply["error"].as_str().unwrap().ends_with(text), "{reply}");
    }
}

fn spawn_error(platform: &mut Platform, template: &str) -> String {
    let mut fields = crate::spawn::fields(platform, "v-9", &["serve"]);
    fields["memory"] = json!({ "template": template });
    platform.ask("vm_spawn", fields)["error"].as_str().unwrap().to_string()
}

pub fn busy(platform: &mut Platform) {
    let path = ram(platform, 1024, 256);
    let started = Instant::now();
    let first = platform.send(vec![("vm_template", json!({ "name": "rt-1", "path": path }))])[0];
    let before = Instant::now();
    platform.must("list", json!({}));
    let answered = before.elapsed();
    platform.must("vm_template", json!({ "name": "rt-2", "path": path }));
    let reply = platform.reply(first);
    let copied = started.elapsed();
    println!(
        "        list answered in {} us, both copies of 256 MiB in {} ms",
        answered.as_micros(),
        copied.as_millis()
    );
    assert_eq!(reply["ok"], true);
    assert!(answered < copied / 4, "list waited for the copy");
    platform.must("vm_forget", json!({ "name": "rt-2" }));
    fs::remove_file(path).unwrap();
}
