//! A guest's network in small, on the queue of a tap: ARP, and UDP over IPv4.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Before each frame: struct virtio_net_hdr, all zeroes when nothing is offloaded.
const VNET_BYTES: usize = 10;
const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 7];
const ANSWER_MS: u64 = 700;

pub struct Guest {
    tap: i32,
    address: Ipv4Addr,
    gateway_mac: [u8; 6],
}

impl Guest {
    /// Finds the gateway; an error when nobody answers.
    pub fn new(tap: i32, address: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<Guest> {
        let mut guest = Guest { tap, address, gateway_mac: [0xff; 6] };
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend(MAC);
        arp.extend(address.octets());
        arp.extend([0; 6]);
        arp.extend(gateway.octets());
        guest.send(0x0806, &arp)?;
        let answer = guest.receive(|frame| {
            let is_reply = frame.get(12..14) == Some(&[8, 6]) && frame.get(20..22) == Some(&[0, 2]);
            (is_reply && frame.get(28..32) == Some(&gateway.octets())).then(|| frame[22..28].to_vec())
        })?;
        guest.gateway_mac.copy_from_slice(&answer);
        Ok(guest)
    }

    fn send(&self, kind: u16, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0u8; VNET_BYTES];
        frame.extend(self.gateway_mac);
        frame.extend(MAC);
        frame.extend(kind.to_be_bytes());
        frame.extend(payload);
        loop {
            // SAFETY: the kernel reads `frame.len()` bytes.
            if unsafe { libc::write(self.tap, frame.as_ptr().cast(), frame.len()) } >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            self.wait(libc::POLLOUT, 100);
        }
    }

    fn wait(&self, events: i16, timeout_ms: i32) {
        let mut poll = libc::pollfd { fd: self.tap, events, revents: 0 };
        // SAFETY: one entry, which lives over the call.
        unsafe { libc::poll(&mut poll, 1, timeout_ms) };
    }

    fn receive<T>(&self, mut take: impl FnMut(&[u8]) -> Option<T>) -> io::Result<T> {
        let deadline = Instant::now() + Duration::from_millis(ANSWER_MS);
        let mut buffer = [0u8; 2048];
        loop {
            // SAFETY: the kernel writes at most `buffer.len()` bytes.
            let count = unsafe { libc::read(self.tap, buffer.as_mut_ptr().cast(), buffer.len()) };
            if count > VNET_BYTES as isize {
                if let Some(got) = take(&buffer[VNET_BYTES..count as usize]) {
                    return Ok(got);
                }
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            self.wait(libc::POLLIN, left.as_millis() as i32 + 1);
        }
    }

    pub fn send_udp(&self, from: Ipv4Addr, to: (Ipv4Addr, u16), text: &[u8]) -> io::Result<()> {
        let total = (28 + text.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        packet.extend(from.octets());
        packet.extend(to.0.octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(5555u16.to_be_bytes());
        packet.extend(to.1.to_be_bytes());
        // Without a checksum, as UDP over IPv4 may be.
        packet.extend((8 + text.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(text);
        self.send(0x0800, &packet)
    }

    /// Asks and gives the answer; from an address that is not its own when `forged`.
    pub fn ask(&self, to: (Ipv4Addr, u16), text: &str, forged: Option<Ipv4Addr>) -> io::Result<String> {
        self.send_udp(forged.unwrap_or(self.address), to, text.as_bytes())?;
        self.receive(|frame| {
            let is_udp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17);
            let is_from = frame.get(26..30) == Some(&to.0.octets()) && frame.get(34..36) == Some(&to.1.to_be_bytes());
            let length = usize::from(u16::from_be_bytes([*frame.get(38)?, *frame.get(39)?]));
            (is_udp && is_from).then(|| String::from_utf8_lossy(&frame[42..34 + length]).into_owned())
        })
    }
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
