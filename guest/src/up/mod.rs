//! `hearth-guest up`: starts the platform's process as an unprivileged user, then serves it as its launcher.

mod covers;
mod options;
mod platform;
mod state;

pub use state::remove_folder;

use crate::cgroup::Cgroups;
use crate::error::{Context, Error};
use crate::host::{mount_work, Host, Options};
use crate::launcher::{Launcher, Parts};
use crate::publish::ReadyFiles;
use crate::reread::ReadableFiles;
use crate::sys;
use crate::vm::{Former, Program, VmOptions};
use std::fs;

/// Runs the platform; returns the exit status to end with.
pub fn run(words: &[String]) -> Result<i32, Error> {
    let arguments = options::parse(words)?;
    let is_root = sys::geteuid() == 0;
    let uid = arguments.uid.filter(|_| is_root).unwrap_or_else(sys::geteuid);
    let gid = arguments.gid.filter(|_| is_root).unwrap_or_else(sys::getegid);
    let id = state::identity(&arguments.state);

    // 1. Mounts of our own. Descriptors that mounts are made by must come from this namespace, so it is first.
    if is_root {
        leave_host_mounts()?;
    }
    // 2. One launcher for each state folder; signals are read, not taken, so that no child is missed.
    let _lock = state::lock(&arguments.state)?;
    let signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .at("start", || "make a signal descriptor".to_string())?;
    let mut ready_files = ReadyFiles::default();
    arguments.ready.iter().try_for_each(|path| ready_files.add(path))?;
    let mut readable_files = ReadableFiles::default();
    arguments.readable.iter().try_for_each(|path| readable_files.add(path))?;
    let vmms = arguments.vmms.iter().map(|path| Program::open(path)).collect::<Result<Vec<_>, _>>()?;
    // 3. What the platform's user must reach is made reachable.
    let work = if is_root { Some(mount_work(&arguments.state)?) } else { None };
    let covers = if is_root && uid != 0 {
        covers::cover_unreachable(&covers::wanted_paths(&arguments), uid, gid)?
    } else {
        Vec::new()
    };
    // 4. What a predecessor left.
    let former = Former::find(&arguments.state, is_root, !vmms.is_empty())?;
    let kept = former.names();
    let cgroups = Cgroups::open(&id, &kept);
    state::remove_left_folders(&arguments.state, uid, gid, &kept);
    // 5. The platform, then everything that sandboxes are made from.
    let (control, platform_end) =
        sys::socketpair(libc::SOCK_STREAM).at("start", || "make a socket pair".to_string())?;
    let platform = platform::start(&arguments.command, &platform_end, (uid, gid))?;
    drop(platform_end);
    let mut sources = arguments.sources;
    if !sources.is_empty() {
        sources.extend(arguments.keep);
        sources.extend(own_program());
        sources.push("/etc".to_string());
    }
    let host = Host::prepare(Options {
        platform_uid: uid,
        platform_gid: gid,
        is_root,
        covers,
        sources,
        state: arguments.state,
        work,
    });
    let vms = VmOptions {
        programs: vmms,
        former,
        id: id.clone(),
        wait_ms: arguments.vm_wait_ms,
        adopt_wait_ms: arguments.adopt_wait_ms,
    };
    let launched = host.and_then(|host| {
        let parts = Parts { host, cgroups, control, platform, signals, ready_files, readable_files, id, vms };
        Launcher::new(parts).at("start", || "start the launcher".to_string())
    });
    // 6. Serves until the platform ends.
    match launched {
        Ok(mut launcher) => launcher.serve().at("launcher", || "wait for events".to_string()),
        Err(error) => {
            let _ = sys::kill(platform, libc::SIGKILL);
            Err(error)
        }
    }
}

fn own_program() -> Option<String> {
    fs::read_link("/proc/self/exe").ok().map(|path| path.to_string_lossy().into_owned())
}

/// A mount namespace of our own: what the host mounts comes in, what we mount stays in.
fn leave_host_mounts() -> Result<(), Error> {
    sys::unshare(libc::CLONE_NEWNS)
        .and_then(|()| sys::mount("", "/", "", libc::MS_SLAVE | libc::MS_REC, ""))
        .at("mount_ns", || "make a mount namespace".to_string())?;
    // SAFETY: an empty list is given by length 0. Root's groups must not hide what the platform's user cannot reach.
    unsafe { libc::setgroups(0, std::ptr::null()) };
    Ok(())
}
