//! The runtime's way from its fork to its exec.

use super::rights::{fence_files, give_up_user};
use super::{fail, Child, Plan, Step};
use crate::sys;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

const STEPS: [(&str, Step); 3] = [("user", give_up_user), ("landlock", fence_files), ("cwd", enter_task)];

pub fn run(child: &mut Child, out: RawFd, err: RawFd) -> ! {
    for (step, perform) in STEPS {
        if let Err(error) = perform(child) {
            fail(child.plan.status.as_raw_fd(), step, &error);
        }
    }
    let error = exec(child.plan, out, err).err().unwrap_or_else(io::Error::last_os_error);
    fail(child.plan.status.as_raw_fd(), "exec", &error)
}

fn enter_task(_: &mut Child) -> io::Result<()> {
    sys::chdir("/var/task").or_else(|_| sys::chdir("/"))
}

fn exec(plan: &Plan, out: RawFd, err: RawFd) -> io::Result<()> {
    let strings = |list: Vec<String>| list.iter().map(|text| sys::c(text)).collect::<io::Result<Vec<CString>>>();
    let argv = strings(plan.argv.to_vec())?;
    let env = strings(plan.env.iter().map(|(name, value)| format!("{name}={value}")).collect())?;
    let pointers = |list: &[CString]| {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let (argv, env) = (pointers(&argv), pointers(&env));
    // Copies above 3 first, so that none is overwritten before it is used. They close on exec, the status pipe too: that is what
    // tells the launcher that the exec succeeded.
    let null = sys::openat(libc::AT_FDCWD, "/dev/null", libc::O_RDWR, 0)?;
    let null = sys::dup_above(null.as_raw_fd(), 10)?;
    let (out, err) = (sys::dup_above(out, 10)?, sys::dup_above(err, 10)?);
    let channel = sys::dup_above(plan.channel.as_raw_fd(), 10)?;
    for (from, to) in [(null, 0), (out, 1), (err, 2)] {
        sys::dup2(from, to)?;
    }
    // The descriptor 3 may be the status pipe, which has to live until the exec.
    let status = sys::dup_above(plan.status.as_raw_fd(), 10)?;
    sys::dup2(channel, 3)?;
    let mut keep = vec![0, 1, 2, 3, status];
    sys::close_all_but(&mut keep)?;
    sys::reset_signals();
    sys::set_signal_mask(&[])?;
    // SAFETY: all strings and both null-terminated lists live over the call, which returns only on failure.
    let result = unsafe { libc::execve(argv[0], argv.as_ptr(), env.as_ptr()) };
    let error = sys::check_int(result).err().unwrap_or_else(io::Error::last_os_error);
    fail(status, "exec", &error)
}
