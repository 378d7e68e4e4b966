//! The most memory that a folder of cgroup v2 held since its peak was reset.

use super::member::Member;
use crate::sys;
use std::cell::{Cell, OnceCell};
use std::os::fd::{AsRawFd, OwnedFd};

const FILE: &str = "memory.peak";

/// Kernels reset `memory.peak` from 6.12 on, and only for the descriptor that was written to: so it stays open.
#[derive(Default)]
pub struct Peak {
    file: OnceCell<Option<OwnedFd>>,
    /// Of a kernel that does not reset it: the peak of the folder's life at the last reset.
    known: Cell<u64>,
}

impl Peak {
    /// Bytes at most since the last reset; with `reset` it counts from now on. `in_use`: bytes now.
    pub fn read(&self, member: &Member, in_use: u64, reset: bool) -> u64 {
        let file = self.file.get_or_init(|| member.open(FILE, libc::O_RDWR).ok().filter(can_reset));
        let Some(file) = file else {
            return self.of_life(member.number(FILE), in_use, reset);
        };
        let mut buffer = [0u8; 32];
        let length = sys::read_at(file.as_raw_fd(), &mut buffer, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&buffer[..length]);
        if reset {
            let _ = sys::write(file.as_raw_fd(), b"0");
        }
        text.trim().parse().unwrap_or(0).max(in_use)
    }

    /// Where it has not risen since, no more is known than what is in use.
    fn of_life(&self, peak: u64, in_use: u64, reset: bool) -> u64 {
        let most = if peak > self.known.get() { peak } else { in_use };
        if reset {
            self.known.set(peak);
        }
        most.max(in_use)
    }
}

/// To root all files open; the mode tells whether the kernel does something with what is written.
fn can_reset(file: &OwnedFd) -> bool {
    sys::fstat(file.as_raw_fd()).is_ok_and(|stat| stat.st_mode & libc::S_IWUSR != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_life_tells_a_peak_once_and_then_what_is_in_use() {
        let peak = Peak::default();
        assert_eq!(peak.of_life(150, 10, false), 150);
        assert_eq!(peak.of_life(150, 10, true), 150);
        assert_eq!(peak.of_life(150, 12, true), 12);
        assert_eq!(peak.of_life(160, 12, true), 160);
        // Kernels before 5.19 know no peak.
        assert_eq!(Peak::default().of_life(0, 12, true), 12);
    }
}
