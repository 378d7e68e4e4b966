//! A stand-in for a VMM: listens on descriptor 3 and does what each line says, one line back.

use crate::guest_net::Guest;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Descriptors that were open at the start.
static INHERITED: OnceLock<String> = OnceLock::new();

fn open_descriptors() -> String {
    let is_open = |fd: &i32| {
        // SAFETY: takes plain numbers.
        unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 }
    };
    (0..256).filter(is_open).map(|fd| fd.to_string()).collect::<Vec<_>>().join(" ")
}

pub fn run(words: &[String]) {
    INHERITED.get_or_init(open_descriptors);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", ..] => {
            // SAFETY: the launcher gave us descriptor 3 as a listening socket.
            serve_all(&unsafe { UnixListener::from_raw_fd(3) });
        }
        ["exit", code] => {
            eprintln!("dummy says goodbye");
            std::process::exit(code.parse().unwrap());
        }
        ["chatter"] => {
            for number in 0..20_000 {
                eprintln!("line {number}");
            }
            std::process::abort();
        }
        ["hog"] => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1u8; 1 << 20]);
            }
        }
        _ => panic!("no such dummy: {words:?}"),
    }
}

pub fn serve_all(listener: &UnixListener) {
    for stream in listener.incoming() {
        serve(stream.unwrap());
    }
}

fn serve(stream: UnixStream) {
    let mut out = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let words: Vec<&str> = line.split(' ').collect();
        let text = match answer(&words) {
            Ok(text) => text,
            Err(error) => format!("error {}", error.raw_os_error().unwrap_or(0)),
        };
        if writeln!(out, "{}", text.replace('\n', "|")).is_err() {
            return;
        }
    }
}

fn answer(words: &[&str]) -> std::io::Result<String> {
    let by_number = |number: &str| format!("/proc/self/fd/{number}");
    Ok(match words {
        ["status"] => fs::read_to_string("/proc/self/status")?,
        ["ls", path] => {
            let mut names: Vec<String> =
                fs::read_dir(path)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names.join(" ")
        }
        ["fds"] => INHERITED.get().cloned().unwrap_or_default(),
        ["interfaces"] => fs::read_to_string("/proc/net/dev")?
            .lines()
            .skip(2)
            .filter_map(|line| line.split(':').next())
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" "),
        ["read", number] => {
            let mut text = String::new();
            // SAFETY: the test asks for a descriptor that it gave; it is left open.
            let mut file = std::mem::ManuallyDrop::new(unsafe { fs::File::from_raw_fd(number.parse().unwrap()) });
            file.read_to_string(&mut text)?;
            text
        }
        ["write", number, text] => {
            // SAFETY: as above.
            let mut file = std::mem::ManuallyDrop::new(unsafe { fs::File::from_raw_fd(number.parse().unwrap()) });
            file.write_all(text.as_bytes())?;
            "written".to_string()
        }
        ["connect", number, text] => {
            UnixStream::connect(by_number(number))?.write_all(text.as_bytes())?;
            "sent".to_string()
        }
        // Opened anew, as QEMU does with its RAM file.
        ["reopen", number] => {
            let file = fs::File::options().read(true).write(true).open(by_number(number))?;
            format!("{}", file.metadata()?.size())
        }
        ["store", number, at, text] => {
            let file = fs::File::options().read(true).write(true).open(by_number(number))?;
            file.write_all_at(text.as_bytes(), at.parse().unwrap())?;
            "stored".to_string()
        }
        ["map", number, kind, at] => map(&by_number(number), kind, at.parse().unwrap())?,
        ["open", path] => {
            fs::File::open(path)?;
            "opened".to_string()
        }
        ["cat", path] => fs::read_to_string(path)?,
        ["put", path, text] => {
            fs::File::options().write(true).open(path)?.write_all(text.as_bytes())?;
            "written".to_string()
        }
        // As Firecracker does: by its name.
        ["attach", name] => attach(name)?,
        ["limits"] => [libc::RLIMIT_FSIZE, libc::RLIMIT_NOFILE, libc::RLIMIT_CORE].map(limit).join(" "),
        ["make", path] => {
            fs::File::create(path)?;
            "made".to_string()
        }
        ["udp", tap, address, gateway, to, port, text, more @ ..] => {
            let [address, gateway, to] = [address, gateway, to].map(|text| text.parse::<Ipv4Addr>().unwrap());
            let forged = more.first().map(|text| text.parse().unwrap());
            let guest = Guest::new(tap.parse().unwrap(), address, gateway)?;
            guest.ask((to, port.parse().unwrap()), text, forged)?
        }
        ["flood", tap, address, gateway, to, port, ms] => {
            let [address, gateway, to] = [address, gateway, to].map(|text| text.parse::<Ipv4Addr>().unwrap());
            let guest = Guest::new(tap.parse().unwrap(), address, gateway)?;
            let deadline = Instant::now() + Duration::from_millis(ms.parse().unwrap());
            let mut sent = 0;
            while Instant::now() < deadline {
                guest.send_udp(address, (to, port.parse().unwrap()), &[b'x'; 1000])?;
                sent += 1000;
            }
            sent.to_string()
        }
        ["say", text] => {
            eprintln!("{text}");
            "said".to_string()
        }
        ["end"] => std::process::exit(0),
        _ => format!("unknown {words:?}"),
    })
}

/// Maps a file shared or privately, reads a word at `at`, writes there, and gives the word that was.
fn map(path: &str, kind: &str, at: usize) -> std::io::Result<String> {
    use std::os::fd::AsRawFd;
    let file = fs::File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.size() as usize;
    let flags = if kind == "shared" { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
    // SAFETY: a new mapping; it is never unmapped, and `at` is within it.
    unsafe {
        let start =
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, file.as_raw_fd(), 0);
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let word = start.cast::<u8>().add(at).cast::<[u8; 4]>();
        let was = String::from_utf8_lossy(&*word).into_owned();
        *word = *b"MINE";
        Ok(was)
    }
}

fn limit(resource: libc::__rlimit_resource_t) -> String {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives over the call.
    unsafe { libc::getrlimit(resource, &mut limit) };
    limit.rlim_max.to_string()
}

fn attach(name: &str) -> std::io::Result<String> {
    use std::os::fd::AsRawFd;
    let tun = fs::File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all zeroes is a valid `ifreq`, and the name is shorter than its field; the kernel reads and writes it whole.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, &mut request)
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok("attached".to_string())
}
