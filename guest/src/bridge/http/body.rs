//! Bodies of HTTP/1.1: by length, in chunks or until the end.

use super::{header, Broken, Headers, HEADERS_MAX};

/// A chunk's size with its extensions.
const SIZE_LINE_BYTES_MAX: usize = 1_024;
/// A Runtime API client may send a whole error in a trailer.
const TRAILER_BYTES_MAX: usize = 262_144;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Length(u64),
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
    Done,
}

/// Takes a body out of the bytes of a connection.
pub struct Body {
    step: Step,
    /// A line that is not whole.
    line: Vec<u8>,
    trailer_bytes: usize,
    pub trailers: Headers,
}

impl Body {
    pub fn new(framing: Framing) -> Body {
        let step = match framing {
            Framing::Length(0) => Step::Done,
            Framing::Length(left) => Step::Length(left),
            Framing::Chunked => Step::Size,
            Framing::UntilClose => Step::UntilClose,
        };
        Body { step, line: Vec::new(), trailer_bytes: 0, trailers: Vec::new() }
    }

    pub fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// The other side ends its half: whether that is a body's end.
    pub fn ends_here(&self) -> bool {
        matches!(self.step, Step::Done | Step::UntilClose)
    }

    /// Takes from the front of `bytes` what belongs to the body, and appends its content to `out`; returns how much was taken.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Broken> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            match self.step {
                Step::Done => break,
                Step::UntilClose => {
                    out.extend_from_slice(rest);
                    return Ok(bytes.len());
                }
                Step::Length(left) | Step::Chunk(left) => {
                    let count = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    out.extend_from_slice(&rest[..count]);
                    taken += count;
                    let left = left - count as u64;
                    self.step = match self.step {
                        Step::Length(_) if left == 0 => Step::Done,
                        Step::Length(_) => Step::Length(left),
                        _ if left == 0 => Step::ChunkEnd,
                        _ => Step::Chunk(left),
                    };
                }
                Step::Size | Step::ChunkEnd | Step::Trailer => taken += self.take_line(rest)?,
            }
        }
        Ok(taken)
    }

    fn take_line(&mut self, rest: &[u8]) -> Result<usize, Broken> {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(rest.len(), |at| at + 1);
        self.line.extend_from_slice(&rest[..count]);
        let bytes_max = if self.step == Step::Trailer { TRAILER_BYTES_MAX } else { SIZE_LINE_BYTES_MAX };
        if self.line.len() > bytes_max {
            return Err("a line of its chunked body is too long");
        }
        if end.is_none() {
            return Ok(count);
        }
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r\n").ok_or("a line of its chunked body has no CR LF")?;
        self.step = match self.step {
            Step::Size => match chunk_size(line)? {
                0 => Step::Trailer,
                size => Step::Chunk(size),
            },
            Step::ChunkEnd if line.is_empty() => Step::Size,
            Step::ChunkEnd => return Err("a chunk is longer than it says"),
            _ if line.is_empty() => Step::Done,
            _ => {
                self.trailer_bytes += line.len();
                if self.trailer_bytes > TRAILER_BYTES_MAX || self.trailers.len() >= HEADERS_MAX {
                    return Err("its trailers are too long");
                }
                self.trailers.push(header(line)?);
                Step::Trailer
            }
        };
        Ok(count)
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    const RULE: Broken = "a chunk's size is no hexadecimal number";
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).map_err(|_| RULE)?.trim_end();
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(RULE);
    }
    u64::from_str_radix(text, 16).map_err(|_| RULE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(framing: Framing, bytes: &[u8], size: usize) -> Result<(Vec<u8>, usize, Body), Broken> {
        let (mut body, mut out, mut taken) = (Body::new(framing), Vec::new(), 0);
        for piece in bytes.chunks(size) {
            let count = body.take(piece, &mut out)?;
            taken += count;
            if count < piece.len() {
                break;
            }
        }
        Ok((out, taken, body))
    }

    #[test]
    fn bodies_come_out_in_every_split() {
        let chunked = b"4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nA-B: c\r\n\r\nnext";
        for size in [1, 2, 3, 7, 1000] {
            let (out, taken, done) = body(Framing::Chunked, chunked, size).unwrap();
            assert_eq!((out.as_slice(), taken, done.is_done()), (&b"wikipedia"[..], chunked.len() - 4, true));
            assert_eq!(done.trailers, [("A-B".to_string(), "c".to_string())]);
            let (out, taken, done) = body(Framing::Length(3), b"abcdef", size).unwrap();
            assert_eq!((out.as_slice(), taken, done.is_done()), (&b"abc"[..], 3, true));
        }
        assert!(body(Framing::UntilClose, b"abc", 2).unwrap().2.ends_here());
        assert!(!body(Framing::Chunked, b"4\r\nwi", 2).unwrap().2.ends_here());
    }

    #[test]
    fn chunked_bodies_that_could_be_read_in_two_ways_are_refused() {
        let long = [b"1".repeat(2000), b"\r\n".to_vec()].concat();
        let bad: [&[u8]; 7] =
            [b"-1\r\n", b"\r\n", b"0x4\r\nabcd", b"4\nwiki", b"3\r\nwiki\r\n", b"ffffffffffffffff\r\n", &long];
        for bytes in bad {
            assert!(body(Framing::Chunked, bytes, 1000).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
