//! `tsc`: how fast this machine's time stamp counter runs, measured. For emulated guests, which read the counter itself: where the kernel shows the
//! processor's present speed in /proc/cpuinfo, nothing else tells it without root.

use crate::error::Error;
use std::time::{Duration, Instant};

const SPAN: Duration = Duration::from_millis(30);
/// The quickest of so many readings is the one that nothing came between.
const READINGS: usize = 50;

/// Prints kHz, to 5 parts in a million.
pub fn run() -> Result<i32, Error> {
    let begun = Instant::now();
    let (from_cycles, from) = read(begun);
    std::thread::sleep(SPAN);
    let (to_cycles, to) = read(begun);
    println!("{}", khz(to_cycles.wrapping_sub(from_cycles), to - from));
    Ok(0)
}

fn khz(cycles: u64, elapsed: Duration) -> u64 {
    (u128::from(cycles) * 1_000_000 / elapsed.as_nanos().max(1)) as u64
}

/// The counter, and the time since `begun` at which it was read.
fn read(begun: Instant) -> (u64, Duration) {
    let readings = (0..READINGS).map(|_| {
        let before = begun.elapsed();
        let cycles = counter();
        let after = begun.elapsed();
        (after - before, cycles, before + (after - before) / 2)
    });
    readings.min_by_key(|(width, ..)| *width).map_or((0, Duration::ZERO), |(_, cycles, at)| (cycles, at))
}

#[cfg(target_arch = "x86_64")]
fn counter() -> u64 {
    // SAFETY: reads a register.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// QEMU's machines are there for x86-64 alone.
#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn khz_is_cycles_a_millisecond() {
        assert_eq!(khz(78_000_000, Duration::from_millis(30)), 2_600_000);
        assert_eq!(khz(u64::MAX, Duration::ZERO), (u128::from(u64::MAX) * 1_000_000) as u64);
    }
}
