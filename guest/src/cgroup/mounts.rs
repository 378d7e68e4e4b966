//! Where cgroups are mounted.

/// Where cgroups are mounted, from /proc/self/mountinfo.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    pub v2: Option<String>,
    /// (options, mount point)
    pub v1: Vec<(String, String)>,
}

pub fn parse_mounts(mountinfo: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        let mut words = right.split(' ');
        match (words.next(), words.nth(1)) {
            (Some("cgroup2"), _) if mounts.v2.is_none() => mounts.v2 = Some(point.to_string()),
            (Some("cgroup"), Some(options)) => mounts.v1.push((options.to_string(), point.to_string())),
            _ => {}
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_mounts_finds_both_versions() {
        let text = "\
22 20 0:20 / /proc rw,relatime - proc proc rw
33 20 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
34 33 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 33 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 33 0:31 / /sys/fs/cgroup/unified rw shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate
37 33 0:31 / /other rw - cgroup2 cgroup2 rw
";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.v2.as_deref(), Some("/sys/fs/cgroup/unified"));
        let v1 = |options: &str, point: &str| (options.to_string(), point.to_string());
        assert_eq!(
            mounts.v1,
            [v1("rw,cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"), v1("rw,memory", "/sys/fs/cgroup/memory")]
        );
        assert_eq!(parse_mounts("nonsense\n - \n"), Mounts::default());
    }
}
