//! What makes one VM differ from another that began as the same snapshot: randomness, clock, host name.

use crate::error::{Context, Error};
use crate::sys;
use std::fs;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The root image's /etc/hosts and /etc/hostname lead here.
pub const HOSTS: &str = "/run/hosts";
pub const HOSTNAME: &str = "/run/hostname";
const SEED_BYTES: usize = 32;

/// The host's time, and when it was told.
#[derive(Clone, Copy)]
pub struct HostTime {
    pub epoch_ms: u64,
    pub told_at: Instant,
}

impl HostTime {
    /// Sets the clock to what it is now on the host, `behind` that.
    pub fn set(self, behind: Duration) -> Result<(), Error> {
        let now = Duration::from_millis(self.epoch_ms) + self.told_at.elapsed();
        let now = now.saturating_sub(behind);
        let time = libc::timespec { tv_sec: now.as_secs() as libc::time_t, tv_nsec: now.subsec_nanos() as _ };
        // SAFETY: `time` lives over the call.
        sys::check_int(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) })
            .at("init.clock", || format!("set the clock to {} s", now.as_secs()))
            .map(drop)
    }
}

/// Mixes 64 hex digits into the kernel's randomness and makes its generator start from there.
pub fn mix_seed(hex: &str) -> Result<(), Error> {
    const STEP: &str = "init.random";
    const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
    const RNDRESEEDCRNG: libc::c_ulong = 0x5207;
    #[repr(C)]
    struct Pool {
        entropy_bits: libc::c_int,
        bytes: libc::c_int,
        buffer: [u8; SEED_BYTES],
    }
    let buffer = unhex(hex)
        .ok_or_else(|| Error::Field { field: "seed".to_string(), rule: format!("{} hex digits", SEED_BYTES * 2) })?;
    let pool = Pool { entropy_bits: SEED_BYTES as i32 * 8, bytes: SEED_BYTES as i32, buffer };
    let device = sys::openat(libc::AT_FDCWD, "/dev/urandom", libc::O_RDWR, 0)
        .at(STEP, || "open \"/dev/urandom\"".to_string())?;
    // SAFETY: `pool` has the layout of `rand_pool_info` with its bytes behind it, and lives over the call; the second takes nothing.
    unsafe {
        sys::check_int(libc::ioctl(device.as_raw_fd(), RNDADDENTROPY as _, &pool))
            .at(STEP, || "add the host's randomness".to_string())?;
        sys::check_int(libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as _, 0))
            .at(STEP, || "reseed the kernel's generator".to_string())
            .map(drop)
    }
}

/// Fresh randomness for the runtime, as hex digits.
pub fn draw_seed() -> Result<String, Error> {
    let mut bytes = [0u8; SEED_BYTES];
    // SAFETY: the kernel fills at most `bytes.len()` bytes.
    sys::check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } as libc::c_long)
        .at("init.random", || "draw randomness".to_string())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Names this host, so that whoever looks the name up finds it. Written in place: a container's image has mounts that lead to these files.
pub fn set_hostname(name: &str) -> Result<(), Error> {
    const STEP: &str = "init.hostname";
    sys::set_hostname(name).at(STEP, || format!("set the host name \"{name}\""))?;
    let files =
        [(HOSTS, format!("127.0.0.1 localhost hearth {name}\n::1 localhost\n")), (HOSTNAME, format!("{name}\n"))];
    for (file, content) in files {
        fs::write(file, content).at(STEP, || format!("write \"{file}\""))?;
    }
    Ok(())
}

fn unhex(text: &str) -> Option<[u8; SEED_BYTES]> {
    let mut bytes = [0u8; SEED_BYTES];
    if text.len() != SEED_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unhex_takes_exactly_64_digits() {
        assert_eq!(unhex(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(unhex(&"0f".repeat(31)), None);
        assert_eq!(unhex(&"0g".repeat(32)), None);
        assert_eq!(unhex(&"\u{e9}".repeat(32)), None);
    }
}
