//! `/init` of an initramfs, for kernels whose drivers are modules: loads them, mounts the root image and starts the init in it.
//! The archive holds this program and `/modules/NN-name.ko`.

use super::power;
use crate::error::{Context, Error};
use crate::sys;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const STEP: &str = "init.initramfs";
const ROOT_DEVICE: &str = "/dev/vda";
const INIT: &str = "/usr/lib/hearth/hearth-guest";
/// A disk appears some ms after its driver.
const DEVICE_MS_MAX: u64 = 10_000;

/// Runs as PID 1; goes on as the root image's init, or powers off.
pub fn run() -> Result<i32, Error> {
    if std::process::id() != 1 {
        return Err(Error::Usage { reason: "initramfs runs as PID 1 of a microVM only.".to_string() });
    }
    let error = start().err().unwrap_or(Error::Usage { reason: "exec returned".to_string() });
    power::off_after(&error)
}

fn start() -> Result<(), Error> {
    sys::mount("devtmpfs", "/dev", "devtmpfs", libc::MS_NOSUID | libc::MS_NOEXEC, "mode=755")
        .at(STEP, || "mount /dev".to_string())?;
    load_modules()?;
    match sys::mkdirat(libc::AT_FDCWD, "/sysroot", 0o755) {
        // The archive may bring it.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        made => drop(made.at(STEP, || "make \"/sysroot\"".to_string())?),
    }
    mount_root()?;
    sys::mount("/dev", "/sysroot/dev", "", libc::MS_MOVE, "").at(STEP, || "move /dev to the root image".to_string())?;
    let enter = || {
        sys::chdir("/sysroot")?;
        sys::mount(".", "/", "", libc::MS_MOVE, "")?;
        sys::chroot_to_cwd()?;
        sys::chdir("/")
    };
    enter().at(STEP, || "make the root image the root".to_string())?;
    let words: Vec<CString> = [INIT, "init"].iter().filter_map(|word| sys::c(word).ok()).collect();
    let argv = [words[0].as_ptr(), words[1].as_ptr(), std::ptr::null()];
    let env = [std::ptr::null()];
    // SAFETY: the strings and both null-terminated lists live over the call, which returns only on failure.
    sys::check_int(unsafe { libc::execve(argv[0], argv.as_ptr(), env.as_ptr()) })
        .at(STEP, || format!("start \"{INIT}\""))
        .map(drop)
}

/// In the order of their names, which is the order that they need.
fn load_modules() -> Result<(), Error> {
    let mut paths: Vec<String> = fs::read_dir("/modules")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().to_string_lossy().into_owned())
        .filter(|path| path.ends_with(".ko"))
        .collect();
    paths.sort_unstable();
    let none = sys::c("").at(STEP, String::new)?;
    for path in paths {
        let load = || {
            let file = sys::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0)?;
            // SAFETY: the descriptor is open and the options are a NUL-terminated string that lives over the call.
            sys::check(unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), none.as_ptr(), 0) })
        };
        match load() {
            // Built into this kernel.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            loaded => drop(loaded.at(STEP, || format!("load \"{path}\""))?),
        }
    }
    Ok(())
}

fn mount_root() -> Result<(), Error> {
    let news = super::doors::device_news()?;
    let deadline = Instant::now() + Duration::from_millis(DEVICE_MS_MAX);
    loop {
        let mounted = sys::mount(ROOT_DEVICE, "/sysroot", "erofs", libc::MS_RDONLY, "");
        match mounted {
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) && Instant::now() < deadline => {}
            mounted => return mounted.at(STEP, || format!("mount \"{ROOT_DEVICE}\" at \"/sysroot\"")),
        }
        super::doors::wait_for_news(&news, deadline);
    }
}
