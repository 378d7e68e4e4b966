//! A pool of network namespaces with nothing but a loopback in them. Making one takes 0.3 ms, joining one 2 us; so a helper
//! process makes them while the launcher is idle, and does the slow work of `network: egress` (egress.rs) as well. It shares
//! nothing with the launcher but a socket, and ends when that closes.

use crate::egress;
use crate::error::Error;
use crate::sys;
use crate::tap;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Namespaces kept ready. A burst above it makes its own, each 0.4 ms later.
const POOL_SIZE: usize = 16;
/// The same with a `tap0` in it, where VMs are started at all.
const TAPS_SIZE: usize = 8;

/// A namespace for a VM, and the queue of its `tap0`.
pub struct Slot {
    pub network: OwnedFd,
    pub tap: OwnedFd,
}

pub struct Pool {
    socket: OwnedFd,
    ready: VecDeque<OwnedFd>,
    asked: usize,
    slots: VecDeque<Slot>,
    slots_asked: usize,
    slots_size: usize,
    /// Of a slot whose tap is still to come.
    half: Option<OwnedFd>,
}

/// What the helper answers.
pub enum Answer {
    Network,
    Egress {
        serial: u32,
        result: Result<(), Error>,
        notice: Option<String>,
    },
    /// Nothing of a number's last owner is left; or something may be.
    Forgotten {
        index: u16,
        is_clean: bool,
    },
    Gone,
}

impl Pool {
    /// Forks the helper. `id` names this platform's network interfaces; `has_vms`: VMs are started, too.
    pub fn start(id: &str, has_vms: bool) -> io::Result<Pool> {
        let (ours, theirs) = sys::socketpair(libc::SOCK_SEQPACKET)?;
        if sys::fork()? == 0 {
            help(theirs.as_raw_fd(), id);
        }
        sys::set_nonblocking(ours.as_raw_fd())?;
        let mut pool = Pool {
            socket: ours,
            ready: VecDeque::new(),
            asked: 0,
            slots: VecDeque::new(),
            slots_asked: 0,
            slots_size: if has_vms { TAPS_SIZE } else { 0 },
            half: None,
        };
        pool.refill();
        Ok(pool)
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// A ready namespace, or None when a burst has used them up.
    pub fn take(&mut self) -> Option<OwnedFd> {
        self.ready.pop_front()
    }

    /// Asks for what is missing. Called when nobody waits.
    pub fn refill(&mut self) {
        while self.ready.len() + self.asked < POOL_SIZE {
            if sys::send_message(self.fd(), b"n", None).is_err() {
                return;
            }
            self.asked += 1;
        }
        while self.slots.len() + self.slots_asked < self.slots_size {
            if sys::send_message(self.fd(), b"t", None).is_err() {
                return;
            }
            self.slots_asked += 1;
        }
    }

    /// A ready namespace with a tap, or None: then the VMM's child makes one.
    pub fn take_slot(&mut self) -> Option<Slot> {
        self.slots.pop_front()
    }

    /// The end is orderly: the helper takes the firewall's rules away, whoever has a way out.
    pub fn end(&self) {
        let _ = sys::send_message(self.fd(), b"q", None);
    }

    /// A former launcher's VMs may have a way out: the helper answers for their rules from now on.
    pub fn take_over(&self) {
        let _ = sys::send_message(self.fd(), b"a", None);
    }

    pub fn ask_vm_egress(&self, request: &egress::VmRequest, network: RawFd) -> io::Result<()> {
        sys::send_message(self.fd(), format!("v{}", request.encode()).as_bytes(), Some(network))
    }

    pub fn ask_egress(&self, request: &egress::Request, network: RawFd) -> io::Result<()> {
        let message = format!("e{} {} {}", request.serial, request.index, request.resolver_port);
        sys::send_message(self.fd(), message.as_bytes(), Some(network))
    }

    /// Asks to remove what is left of whoever had this number.
    pub fn ask_forget(&self, index: u16) -> io::Result<()> {
        sys::send_message(self.fd(), format!("f{index}").as_bytes(), None)
    }

    /// Takes one answer; None when there is no more for now.
    pub fn receive(&mut self) -> Option<Answer> {
        let mut buffer = [0u8; 4096];
        match sys::receive_message(self.fd(), &mut buffer) {
            Ok((0, _)) => Some(Answer::Gone),
            Ok((_, Some(fd))) if buffer[0] == b't' => {
                self.half = Some(fd);
                Some(Answer::Network)
            }
            Ok((_, Some(tap))) if buffer[0] == b'u' => {
                self.slots_asked = self.slots_asked.saturating_sub(1);
                self.slots.extend(self.half.take().map(|network| Slot { network, tap }));
                Some(Answer::Network)
            }
            // It cannot make one: the child of each VMM will say why.
            Ok((1, None)) if buffer[0] == b't' => {
                self.slots_size = 0;
                Some(Answer::Network)
            }
            Ok((_, Some(network))) => {
                self.asked = self.asked.saturating_sub(1);
                self.ready.push_back(network);
                Some(Answer::Network)
            }
            Ok((count, None)) if buffer[0] == b'f' => {
                let text = String::from_utf8_lossy(&buffer[1..count]).into_owned();
                let (index, is_clean) = text.split_once(' ').unwrap_or(("0", "0"));
                Some(Answer::Forgotten { index: index.parse().unwrap_or(0), is_clean: is_clean == "1" })
            }
            Ok((count, None)) => Some(egress_answer(&String::from_utf8_lossy(&buffer[..count]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(Answer::Network),
            Err(_) => Some(Answer::Gone),
        }
    }
}

/// `serial errno action|notice`; errno 0 is success, -1 a missing program, whose sentence is the action.
fn egress_answer(text: &str) -> Answer {
    let mut words = text.splitn(3, ' ');
    let serial = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let errno: i32 = words.next().and_then(|word| word.parse().ok()).unwrap_or(libc::EPROTO);
    let (action, notice) = words.next().unwrap_or("").split_once('|').unwrap_or(("", ""));
    let result = match errno {
        0 => Ok(()),
        -1 => Err(Error::Missing { feature: "egress", reason: action.to_string(), fix: egress::FIX }),
        errno => Err(Error::Os { step: "egress", action: action.to_string(), errno }),
    };
    Answer::Egress { serial, result, notice: (!notice.is_empty()).then(|| notice.to_string()) }
}

/// The helper: answers until the launcher closes the socket.
fn help(socket: RawFd, id: &str) -> ! {
    let _ = sys::close_all_but(&mut vec![0, 1, 2, socket]);
    // Ends with the socket alone, so that it can clean up even after a launcher that was killed.
    let _ = sys::set_signal_mask(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    sys::set_name("hearth-netns");
    crate::arguments::scrub();
    // Whatever waits for the CPU is more urgent than the pool.
    let _ = sys::set_priority(5);
    let Ok(home) = find_home() else { sys::exit(1) };
    let dev = tap::open_folder();
    let mut egress = egress::Egress::new(id);
    let mut buffer = [0u8; 256];
    loop {
        let (count, network) = match sys::receive_message(socket, &mut buffer) {
            Ok((0, _)) => {
                egress.abandon();
                sys::exit(0)
            }
            Ok(message) => message,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => sys::exit(1),
        };
        let sent = match (&buffer[..count], network) {
            (b"n", _) => match make_network(&home) {
                Ok(network) => sys::send_message(socket, b"n", Some(network.as_raw_fd())),
                // The launcher then lets each sandbox make its own, which names the error.
                Err(_) => sys::exit(1),
            },
            (b"t", _) => send_slot(socket, &home, dev.as_ref().ok()),
            (b"a", _) => {
                egress.take_over();
                Ok(())
            }
            ([b'f', number @ ..], None) => {
                let index = String::from_utf8_lossy(number).parse().unwrap_or(0);
                let answer = format!("f{index} {}", u8::from(egress.forget(index)));
                sys::send_message(socket, answer.as_bytes(), None)
            }
            (b"q", _) => {
                egress.close();
                sys::exit(0)
            }
            (text, Some(network)) => {
                let is_vm = text[0] == b'v';
                let text = String::from_utf8_lossy(&text[1..]).into_owned();
                let answer = match is_vm {
                    true => egress.answer_vm(&text, &network, &home),
                    false => egress.answer(&text, &network, &home),
                };
                sys::send_message(socket, answer.as_bytes(), None)
            }
            _ => Ok(()),
        };
        match sent {
            // The launcher is gone: what it still asked for before is done, then it shows as the end.
            Err(error) if [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind()) => {}
            Err(_) => sys::exit(1),
            Ok(()) => {}
        }
    }
}

/// The network that the helper comes back to. Without root that is one of our user namespace's own: the machine's would not let us
/// in again.
fn find_home() -> io::Result<OwnedFd> {
    let home = own_network()?;
    if sys::setns(home.as_raw_fd(), libc::CLONE_NEWNET).is_ok() {
        return Ok(home);
    }
    sys::unshare(libc::CLONE_NEWNET)?;
    own_network()
}

fn own_network() -> io::Result<OwnedFd> {
    sys::openat(libc::AT_FDCWD, "/proc/self/ns/net", libc::O_RDONLY, 0)
}

fn make_network(home: &OwnedFd) -> io::Result<OwnedFd> {
    in_new_network(home, quiet_network)
}

fn quiet_network() -> io::Result<OwnedFd> {
    bring_loopback_up()?;
    own_network()
}

fn in_new_network<T>(home: &OwnedFd, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    sys::unshare(libc::CLONE_NEWNET)?;
    let made = make();
    sys::setns(home.as_raw_fd(), libc::CLONE_NEWNET)?;
    made
}

/// Answers "t" with the namespace and "u" with the tap, or "t" with nothing.
fn send_slot(socket: RawFd, home: &OwnedFd, dev: Option<&OwnedFd>) -> io::Result<()> {
    let make = |dev: &OwnedFd| in_new_network(home, || Ok((quiet_network()?, tap::make(dev.as_raw_fd())?)));
    match dev.map(make) {
        Some(Ok((network, queue))) => {
            sys::send_message(socket, b"t", Some(network.as_raw_fd()))?;
            sys::send_message(socket, b"u", Some(queue.as_raw_fd()))
        }
        _ => sys::send_message(socket, b"t", None),
    }
}

/// Brings `lo` up in the network namespace this process is in.
pub fn bring_loopback_up() -> io::Result<()> {
    // SAFETY: takes plain numbers; the descriptor is ours alone.
    let socket = unsafe {
        OwnedFd::from_raw_fd(sys::check_int(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?)
    };
    // SAFETY: all zeroes is a valid `ifreq`; the name is NUL-terminated by the zeroes; the kernel reads and writes it whole.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        sys::check_int(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request)).map(drop)
    }
}
