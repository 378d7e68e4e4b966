//! The platform's process: started without a right that it does not need.

use crate::error::{Context, Error};
use crate::sys::{self, Pid};
use std::os::fd::{AsRawFd, OwnedFd};

/// Before functions and the platform's own background threads (src/domain/background.ts), behind the launcher: on a busy machine every
/// invocation waits for its event loop twice.
const PLATFORM_NICE: i32 = -5;

pub fn start(command: &[String], control: &OwnedFd, (uid, gid): (u32, u32)) -> Result<Pid, Error> {
    let launcher = std::process::id() as Pid;
    let pid = sys::fork().at("start", || "fork the platform".to_string())?;
    if pid != 0 {
        return Ok(pid);
    }
    let error = become_platform(command, control, (uid, gid), launcher).err();
    let text = error.map_or(String::new(), |error| crate::error::errno_text(error.raw_os_error().unwrap_or(libc::EIO)));
    eprintln!("Cannot start \"{}\": {text}.", command[0]);
    sys::exit(127)
}

fn become_platform(
    command: &[String],
    control: &OwnedFd,
    (uid, gid): (u32, u32),
    launcher: Pid,
) -> std::io::Result<()> {
    // The copy above 3 first: descriptor 3 may be anything here.
    let control = sys::dup_above(control.as_raw_fd(), 10)?;
    sys::dup2(control, 3)?;
    sys::close_all_but(&mut vec![0, 1, 2, 3])?;
    sys::reset_signals();
    sys::set_signal_mask(&[])?;
    // Without root it stays where it is.
    let _ = sys::set_priority(sys::priority().min(PLATFORM_NICE));
    if sys::geteuid() == 0 && uid != 0 {
        sys::drop_bounding_set()?;
        sys::become_user(uid, gid)?;
        sys::drop_capabilities()?;
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    }
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong)?;
    // SAFETY: cannot fail.
    if unsafe { libc::getppid() } != launcher {
        sys::exit(127);
    }
    let words = command.iter().map(|word| sys::c(word)).collect::<std::io::Result<Vec<_>>>()?;
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: the words and the null-terminated list live over the call, which returns only on failure.
    sys::check_int(unsafe { libc::execvp(pointers[0], pointers.as_ptr()) }).map(drop)
}
