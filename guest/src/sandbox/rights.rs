//! The steps that give up rights: limits, capabilities, system calls, users, files.

use super::Child;
use crate::landlock;
use crate::sys;
use std::io;

/// Swallowed by Node (a worker holds ~25), sqlite, and a server with thousands of connections alike.
const OPEN_FILES: u64 = 65_536;

pub fn set_limits(child: &mut Child) -> io::Result<()> {
    sys::set_rlimit(libc::RLIMIT_CORE, 0, 0)?;
    if sys::set_rlimit(libc::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).is_err() {
        let hard = sys::hard_limit(libc::RLIMIT_NOFILE)?.min(OPEN_FILES);
        sys::set_rlimit(libc::RLIMIT_NOFILE, hard, hard)?;
    }
    match child.plan.processes_max {
        Some(max) => sys::set_rlimit(libc::RLIMIT_NPROC, max, max),
        None => Ok(()),
    }
}

/// Nothing that is exec'd from here on can gain a right: no capability is left to gain, and none is given.
pub fn no_new_privileges(_: &mut Child) -> io::Result<()> {
    sys::drop_bounding_set()?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// The last step that both have in common, so that the kernel compiles one filter. What is left to do is not on its list.
pub fn install_filter(child: &mut Child) -> io::Result<()> {
    child.plan.filter.install()
}

pub fn give_up_user(child: &mut Child) -> io::Result<()> {
    sys::set_priority(child.plan.nice)?;
    if child.plan.changes_user {
        sys::become_user(child.plan.uid, child.plan.gid)?;
    }
    sys::drop_capabilities()
}

pub fn fence_files(child: &mut Child) -> io::Result<()> {
    landlock::restrict(child.plan.landlock_abi)
}

/// The supervisor gives up what the runtime gave up.
pub fn retire(child: &mut Child) -> io::Result<()> {
    give_up_user(child)?;
    // A change of user clears it.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0)
}
