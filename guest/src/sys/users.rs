//! Who a process is and what it may: users, capabilities, limits.

use super::{check, check_int, prctl};
use std::io;

pub fn set_rlimit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives over the call.
    check_int(unsafe { libc::setrlimit(resource, &limit) }).map(drop)
}

pub fn hard_limit(resource: libc::__rlimit_resource_t) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives over the call.
    check_int(unsafe { libc::getrlimit(resource, &mut limit) })?;
    Ok(limit.rlim_max)
}

/// The nice value, -20 (first) to 19.
pub fn priority() -> i32 {
    // SAFETY: takes plain numbers; for ourselves it cannot fail.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

pub fn set_priority(nice: i32) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

pub fn geteuid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() }
}

pub fn getegid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::getegid() }
}

/// Runs `look` with the file permissions of another user, and none of root's.
pub fn as_file_user<T>(uid: u32, gid: u32, look: impl FnOnce() -> T) -> T {
    // SAFETY: both calls take plain numbers and concern this thread alone. Leaving uid 0 drops the capabilities that override
    // file permissions, coming back restores them.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        let result = look();
        libc::setfsuid(geteuid());
        libc::setfsgid(getegid());
        result
    }
}

/// No groups, all three uids and gids: not for a process with threads.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: an empty list is given by length 0; the raw calls concern this thread, and there is no other.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Takes every capability out of the bounding set: nothing that is exec'd later can gain one.
pub fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // EINVAL: past the kernel's last capability.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives up the permitted, effective, inheritable and ambient sets.
pub fn drop_capabilities() -> io::Result<()> {
    // SAFETY: the option takes numbers only.
    let cleared = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    check_int(cleared)?;
    // Version 3 of the interface: header {version, pid}, then two times {effective, permitted, inheritable}.
    let header: [u32; 2] = [0x2008_0522, 0];
    let data = [0u32; 6];
    // SAFETY: both arrays have the layout of version 3 and live over the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}
