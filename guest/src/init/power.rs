//! Turning the machine off.

use crate::error::Error;

/// Says on the console, if there is one, what kept the machine from starting, and ends it.
pub fn off_after(error: &Error) -> ! {
    eprintln!("hearth-guest: {error}");
    // SAFETY: takes a plain number. Waits until the console has it: the reset would be faster.
    unsafe { libc::tcdrain(2) };
    off()
}

/// A VMM takes the reset (a triple fault, or the keyboard controller's, as the kernel's command line says) for the end of the machine.
pub fn off() -> ! {
    loop {
        // SAFETY: takes a plain number; it returns only without the right to do it, which PID 1 of a VM has.
        unsafe { libc::reboot(libc::RB_AUTOBOOT) };
        // A reset that does not come must not let PID 1 end: the kernel would panic instead, on a console that nobody reads.
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}
