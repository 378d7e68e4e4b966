//! Where cgroups are mounted.

/// Where cgroups are mounted, from /proc/self/mountinfo.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    pub v2: Option<String>,
    /// (options, mount point)
    pub v1: Vec<(String, String)>,
}

impl Mounts {
    /// Where our v2 folder may be: at the top, or where we were put, which may be ours although we are not root (systemd calls
    /// it delegated). `own` is /proc/self/cgroup.
    pub fn v2_roots(&self, own: &str) -> Vec<String> {
        let Some(top) = &self.v2 else { return Vec::new() };
        let own =
            own.lines().find_map(|line| line.strip_prefix("0::")).filter(|own| *own != "/" && !own.contains(".."));
        [top.clone()].into_iter().chain(own.map(|own| format!("{top}{own}"))).collect()
    }
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

    #[test]
    fn v2_roots_end_with_the_own_folder() {
        let mounts = Mounts { v2: Some("/c".to_string()), v1: Vec::new() };
        assert_eq!(mounts.v2_roots("12:cpu:/x\n0::/user.slice/a\n"), ["/c", "/c/user.slice/a"]);
        assert_eq!(mounts.v2_roots("0::/\n"), ["/c"]);
        assert_eq!(mounts.v2_roots("0::/../b\n"), ["/c"]);
        assert!(Mounts::default().v2_roots("0::/a\n").is_empty());
    }
}
