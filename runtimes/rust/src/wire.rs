//! Frames of the guest protocol: a 12-byte header and at most 64 KiB. Specified in docs/reference/guest-protocol.md.

use std::io::{self, Read, Write};

pub const PAYLOAD_MAX: usize = 65_536;
pub const WINDOW: usize = 262_144;
pub const CREDIT_STEP: usize = 65_536;
const HEADER: usize = 12;
pub const FIN: u8 = 1;
pub const PONG: u8 = 1;

pub const HELLO: u8 = 1;
pub const BIND: u8 = 3;
pub const READY: u8 = 4;
pub const INVOKE: u8 = 5;
pub const HEAD: u8 = 6;
pub const DATA: u8 = 7;
pub const CREDIT: u8 = 8;
pub const END: u8 = 9;
pub const FAIL: u8 = 10;
pub const CANCEL: u8 = 14;
pub const PING: u8 = 15;
pub const RESUME: u8 = 17;
pub const RESUMED: u8 = 18;
pub const SHUTDOWN: u8 = 19;

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// By type: one bit for each value that the flags may have; 0 for a type that does not exist.
const FLAG_BITS: [u8; 23] = [0, 1, 1, 1, 1, 1, 1, 11, 1, 15, 15, 1, 6, 1, 1, 3, 1, 1, 1, 1, 0, 0, 3];

fn is_stream_legal(kind: u8, stream: u32) -> bool {
    let is_odd = stream % 2 == 1;
    match kind {
        5 | 6 | 11 => is_odd,
        7 | 8 | 9 | 14 => stream != 0,
        10 => true,
        12 => stream == 0 || is_odd,
        13 => stream != 0 && !is_odd,
        _ => stream == 0,
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The payload's length of a header that keeps the rules; else the name of the first rule broken.
fn check_header(header: &[u8; HEADER]) -> Result<usize, &'static str> {
    let (kind, flags) = (header[0], header[1]);
    let bits = FLAG_BITS.get(usize::from(kind)).copied().unwrap_or(0);
    if bits == 0 {
        return Err("type");
    }
    if flags > 7 || bits & (1 << flags) == 0 {
        return Err("flags");
    }
    if header[2] != 0 || header[3] != 0 {
        return Err("reserved");
    }
    if !is_stream_legal(kind, word(header, 4)) {
        return Err("stream");
    }
    let length = word(header, 8) as usize;
    let is_fine = match kind {
        CREDIT => length == 4,
        PING => length <= 64,
        _ => length <= PAYLOAD_MAX,
    };
    if is_fine {
        Ok(length)
    } else {
        Err("length")
    }
}

/// Waits for the next frame; None when the channel ended between two.
pub fn read_frame(source: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut header = [0u8; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match source.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = check_header(&header).map_err(|rule| io::Error::new(io::ErrorKind::InvalidData, rule))?;
    let mut payload = vec![0; length];
    source.read_exact(&mut payload)?;
    Ok(Some(Frame { kind: header[0], flags: header[1], stream: word(&header, 4), payload }))
}

/// Sends one frame in one write.
pub fn send_frame(target: &mut impl Write, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
    assert!(payload.len() <= PAYLOAD_MAX, "a frame of {} bytes does not exist", payload.len());
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&[kind, flags, 0, 0]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    target.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vectors(of: &str) -> Vec<Value> {
        let text = include_str!("../../../test/wire/vectors.json");
        let all: Value = serde_json::from_str(text).unwrap();
        all[of].as_array().unwrap().clone()
    }

    fn bytes(hex: &Value) -> Vec<u8> {
        let hex = hex.as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn every_valid_vector_is_read_and_written() {
        for vector in vectors("valid") {
            let all = bytes(&vector["hex"]);
            let (mut source, mut written) = (all.as_slice(), Vec::new());
            for expected in vector["frames"].as_array().unwrap() {
                let frame = read_frame(&mut source).unwrap().unwrap();
                assert_eq!(u64::from(frame.kind), expected["type"].as_u64().unwrap(), "{}", vector["name"]);
                assert_eq!(frame.payload, bytes(&expected["payloadHex"]), "{}", vector["name"]);
                send_frame(&mut written, frame.kind, frame.flags, frame.stream, &frame.payload).unwrap();
            }
            assert!(read_frame(&mut source).unwrap().is_none());
            assert_eq!(written, all, "{}", vector["name"]);
        }
    }

    #[test]
    fn every_invalid_vector_is_refused_by_its_rule() {
        for vector in vectors("invalid") {
            let all = bytes(&vector["hex"]);
            let mut source = all.as_slice();
            let error = loop {
                match read_frame(&mut source) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{} was taken", vector["name"]),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), vector["error"].as_str().unwrap(), "{}", vector["name"]);
        }
    }
}
