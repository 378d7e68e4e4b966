//! Where the kernel put this process's arguments and environment, so that a sandbox's supervisor can wipe its copy.

use std::sync::OnceLock;

static AREA: OnceLock<(usize, usize)> = OnceLock::new();

/// Remembers the area; called once at start, when the host's /proc is there.
pub fn remember() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(area) = parse(&stat) {
        let _ = AREA.set(area);
    }
}

/// arg_start (field 48) to env_end (field 51): one area on the stack. The name in parentheses may hold anything.
fn parse(stat: &str) -> Option<(usize, usize)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let start: usize = fields.nth(45)?.parse().ok()?;
    let end: usize = fields.nth(2)?.parse().ok()?;
    (start != 0 && start < end).then_some((start, end))
}

/// Overwrites both. Only for a forked child that reads neither again.
pub fn scrub() {
    if let Some(&(start, end)) = AREA.get() {
        // SAFETY: the kernel mapped this area of our stack writable for as long as we live; in this process nothing reads it.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, end - start) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_counts_fields_behind_the_name() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (a b) c) S {}", numbers.join(" "));
        assert_eq!(parse(&stat), Some((48, 51)));
        assert_eq!(parse("7 (x) S 1"), None);
        assert_eq!(parse(""), None);
    }
}
