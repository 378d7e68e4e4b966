//! Frames of the guest protocol: a 12-byte header and at most 64 KiB. Specified in docs/reference/guest-protocol.md; twins:
//! src/wire/frame.ts, runtimes/node/wire.cjs, runtimes/python/hearth_wire.py. All four run test/wire/vectors.json.

use std::fmt;

pub const HEADER_BYTES: usize = 12;
pub const PAYLOAD_BYTES_MAX: usize = 65_536;
pub const PING_BYTES_MAX: usize = 64;
/// Credit that each half of a stream starts with.
pub const WINDOW_BYTES: usize = 262_144;
/// Credit is given back in steps of at least this.
pub const CREDIT_STEP_BYTES: usize = 65_536;

pub const HELLO: u8 = 1;
pub const CONFIGURE: u8 = 2;
pub const BIND: u8 = 3;
pub const READY: u8 = 4;
pub const INVOKE: u8 = 5;
pub const HEAD: u8 = 6;
pub const DATA: u8 = 7;
pub const CREDIT: u8 = 8;
pub const END: u8 = 9;
pub const FAIL: u8 = 10;
pub const IDLE: u8 = 11;
pub const LOG: u8 = 12;
pub const OPEN: u8 = 13;
pub const CANCEL: u8 = 14;
pub const PING: u8 = 15;
pub const PREPARE_SNAPSHOT: u8 = 16;
pub const RESUME: u8 = 17;
pub const RESUMED: u8 = 18;
pub const SHUTDOWN: u8 = 19;
pub const STATS: u8 = 22;

pub const FIN: u8 = 1;
/// With FIN, of the guest on odd streams: IDLE follows.
pub const OPEN_WORK: u8 = 2;
/// On PING and STATS: the answer.
pub const ANSWER: u8 = 1;

#[derive(Clone, Copy)]
enum Streams {
    Zero,
    Odd,
    Even,
    NotZero,
    ZeroOrOdd,
    Any,
}

/// What a header may say, by type from 1: on which streams, and with which values of the flags.
const RULES: [(Streams, &[u8]); 22] = [
    (Streams::Zero, &[0]),             // HELLO
    (Streams::Zero, &[0]),             // CONFIGURE
    (Streams::Zero, &[0]),             // BIND
    (Streams::Zero, &[0]),             // READY
    (Streams::Odd, &[0]),              // INVOKE
    (Streams::Odd, &[0]),              // HEAD
    (Streams::NotZero, &[0, 1, 3]),    // DATA
    (Streams::NotZero, &[0]),          // CREDIT
    (Streams::NotZero, &[0, 1, 2, 3]), // END
    (Streams::Any, &[0, 1, 2, 3]),     // FAIL
    (Streams::Odd, &[0]),              // IDLE
    (Streams::ZeroOrOdd, &[1, 2]),     // LOG
    (Streams::Even, &[0]),             // OPEN
    (Streams::NotZero, &[0]),          // CANCEL
    (Streams::Zero, &[0, 1]),          // PING
    (Streams::Zero, &[0]),             // PREPARE_SNAPSHOT
    (Streams::Zero, &[0]),             // RESUME
    (Streams::Zero, &[0]),             // RESUMED
    (Streams::Zero, &[0]),             // SHUTDOWN
    (Streams::Any, &[]),               // reserved for EXEC: no value of the flags, no frame
    (Streams::Any, &[]),               // reserved for STDIN
    (Streams::Zero, &[0, 1]),          // STATS
];

impl Streams {
    fn allows(self, stream: u32) -> bool {
        match self {
            Streams::Zero => stream == 0,
            Streams::Odd => stream & 1 == 1,
            Streams::Even => stream & 1 == 0 && stream != 0,
            Streams::NotZero => stream != 0,
            Streams::ZeroOrOdd => stream == 0 || stream & 1 == 1,
            Streams::Any => true,
        }
    }
}

/// The first rule that a header broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    Type,
    Flags,
    Reserved,
    Stream,
    Length,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WireError::Type => "type",
            WireError::Flags => "flags",
            WireError::Reserved => "reserved",
            WireError::Stream => "stream",
            WireError::Length => "length",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Appends one frame. The sender is us: only the length is checked, by assertion.
pub fn encode(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "payload of {} bytes", payload.len());
    out.reserve(HEADER_BYTES + payload.len());
    out.extend_from_slice(&[kind, flags, 0, 0]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

/// Cuts a byte stream into frames, however it is split. Holds at most one frame beside what was pushed last.
#[derive(Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Bytes of `bytes` that `next` has handed out.
    taken: usize,
}

impl Decoder {
    pub fn push(&mut self, chunk: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// The next whole frame; an error at the first header that breaks the rules, after which the decoder is of no use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let bytes = &self.bytes[self.taken..];
        let Some(header) = bytes.get(..HEADER_BYTES) else { return Ok(None) };
        let (kind, flags) = (header[0], header[1]);
        let stream = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let length = check_header(header, stream)?;
        let Some(payload) = bytes.get(HEADER_BYTES..HEADER_BYTES + length) else { return Ok(None) };
        let frame = Frame { kind, flags, stream, payload: payload.to_vec() };
        self.taken += HEADER_BYTES + length;
        Ok(Some(frame))
    }
}

/// Length of the frame that begins `bytes`, header included; None while its header is not whole.
pub fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Ok(None) };
    let stream = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    check_header(header, stream).map(|length| Some(HEADER_BYTES + length))
}

fn check_header(header: &[u8], stream: u32) -> Result<usize, WireError> {
    let kind = header[0];
    let rule = usize::from(kind).checked_sub(1).and_then(|index| RULES.get(index));
    let (streams, flags) = rule.filter(|(_, flags)| !flags.is_empty()).ok_or(WireError::Type)?;
    if !flags.contains(&header[1]) {
        return Err(WireError::Flags);
    }
    if header[2] != 0 || header[3] != 0 {
        return Err(WireError::Reserved);
    }
    if !streams.allows(stream) {
        return Err(WireError::Stream);
    }
    let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let is_allowed = match kind {
        CREDIT => length == 4,
        PING => length <= PING_BYTES_MAX,
        _ => length <= PAYLOAD_BYTES_MAX,
    };
    if is_allowed {
        Ok(length)
    } else {
        Err(WireError::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vectors() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../test/wire/vectors.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn decode(bytes: &[u8], size: usize) -> Result<Vec<Frame>, WireError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for chunk in bytes.chunks(size) {
            decoder.push(chunk);
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    const SPLITS: [usize; 7] = [usize::MAX, 1, 3, 11, 12, 13, 65_536];

    #[test]
    fn the_valid_vectors_decode_in_every_split_and_encode_to_the_same_bytes() {
        let vectors = vectors();
        let rows = vectors["valid"].as_array().unwrap();
        assert!(rows.len() > 30);
        for row in rows {
            let bytes = unhex(row["hex"].as_str().unwrap());
            let wanted: Vec<Frame> = row["frames"]
                .as_array()
                .unwrap()
                .iter()
                .map(|frame| Frame {
                    kind: frame["type"].as_u64().unwrap() as u8,
                    flags: frame["flags"].as_u64().unwrap() as u8,
                    stream: frame["stream"].as_u64().unwrap() as u32,
                    payload: unhex(frame["payloadHex"].as_str().unwrap()),
                })
                .collect();
            for size in SPLITS {
                assert_eq!(decode(&bytes, size), Ok(wanted.clone()), "{} in {size}", row["name"]);
            }
            let mut encoded = Vec::new();
            for frame in &wanted {
                encode(&mut encoded, frame.kind, frame.flags, frame.stream, &frame.payload);
            }
            assert_eq!(encoded, bytes, "{}", row["name"]);
        }
    }

    #[test]
    fn the_invalid_vectors_are_refused_by_the_rule_they_name() {
        let vectors = vectors();
        let rows = vectors["invalid"].as_array().unwrap();
        assert!(rows.len() > 20);
        for row in rows {
            let bytes = unhex(row["hex"].as_str().unwrap());
            for size in SPLITS {
                let error = decode(&bytes, size).unwrap_err();
                assert_eq!(error.to_string(), row["error"].as_str().unwrap(), "{} in {size}", row["name"]);
            }
        }
    }
}
