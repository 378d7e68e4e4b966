//! `/etc/passwd` and `/etc/group` of a container's image, with whoever runs there before all others: a program that looks up its own uid finds
//! the name that the image's author gave it, and one that looks up that name finds its own uid.

use crate::sys;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};

pub const NAME_RULE: &str = "null or 1 to 64 of A-Z, a-z, 0-9, _, - and .";

/// Both have to fit into a root of 1 MiB. Twin: `accountBytesMax` in src/artifact/oci/user-name.ts.
const BYTES_MAX: u64 = 256 * 1024;

pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// Name in `etc` and content. What is no plain file of the folder's owner, or is too large, stays as the image has it.
pub fn files(etc: &OwnedFd, user: &str, uid: u32) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let lines = [("passwd", format!("{user}:x:{uid}:{uid}::/tmp:/bin/sh\n")), ("group", format!("{user}:x:{uid}:\n"))];
    let mut files = Vec::new();
    for (name, line) in lines {
        let opened = sys::openat(etc.as_raw_fd(), name, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0);
        let file = match opened {
            Ok(file) => file,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP)) => continue,
            Err(error) => return Err(error),
        };
        let stat = sys::fstat(file.as_raw_fd())?;
        // A second name of a file that its maker may not read is no file of the image.
        let is_own = stat.st_uid == sys::fstat(etc.as_raw_fd())?.st_uid;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG || !is_own {
            continue;
        }
        let mut content = line.into_bytes();
        let own = content.len() as u64;
        File::from(file).take(BYTES_MAX + 1).read_to_end(&mut content)?;
        if content.len() as u64 - own <= BYTES_MAX {
            files.push((name, content));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn whoever_runs_comes_before_the_others_and_only_plain_files_are_read() {
        let folder = std::env::temp_dir().join(format!("hearth-accounts-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let etc = sys::openat(libc::AT_FDCWD, folder.to_str().unwrap(), libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        fs::write(folder.join("passwd"), "app:x:33:33::/app:/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("passwd", folder.join("group")).unwrap();
        let expected = b"app:x:7:7::/tmp:/bin/sh\napp:x:33:33::/app:/bin/sh\n".to_vec();
        assert_eq!(files(&etc, "app", 7).unwrap(), [("passwd", expected)]);
        fs::write(folder.join("passwd"), vec![b'#'; BYTES_MAX as usize + 1]).unwrap();
        fs::remove_file(folder.join("group")).unwrap();
        assert_eq!(files(&etc, "app", 7).unwrap(), []);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_name_is_one_word_of_letters() {
        assert!(is_name("www-data") && is_name("user.1_a"));
        assert!(!is_name("") && !is_name("a:b") && !is_name("a\nb") && !is_name(&"a".repeat(65)));
    }
}
