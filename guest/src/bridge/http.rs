//! HTTP/1.1 as far as two neighbours in one sandbox need it: heads, and bodies by length, in chunks or until the end. Strict, since the other side is
//! a stranger's program: what could be read in two ways is refused.

const HEAD_BYTES_MAX: usize = 65_536;
pub const HEADERS_MAX: usize = 256;
/// A chunk's size with its extensions.
const SIZE_LINE_BYTES_MAX: usize = 1_024;
/// A Runtime API client may send a whole error in a trailer.
const TRAILER_BYTES_MAX: usize = 262_144;

pub type Headers = Vec<(String, String)>;

#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The three words of the first line.
    pub words: [String; 3],
    pub headers: Headers,
}

/// A rule that was broken, as a sentence's end.
pub type Broken = &'static str;

impl Head {
    /// The head that `bytes` begin with, and its length; None while it is not whole.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
        let Some(length) = find(bytes, b"\r\n\r\n").map(|at| at + 4) else {
            return if bytes.len() > HEAD_BYTES_MAX { Err("its head is longer than 64 KiB") } else { Ok(None) };
        };
        if length > HEAD_BYTES_MAX {
            return Err("its head is longer than 64 KiB");
        }
        let mut lines =
            bytes[..length - 4].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = latin1(lines.next().unwrap_or_default());
        let mut words = first.splitn(3, ' ').map(str::to_string);
        let (Some(one), Some(two), three) = (words.next(), words.next(), words.next().unwrap_or_default()) else {
            return Err("its first line is not HTTP's");
        };
        let headers = lines.map(header).collect::<Result<Headers, Broken>>()?;
        if headers.len() > HEADERS_MAX {
            return Err("it has more than 256 headers");
        }
        Ok(Some((Head { words: [one, two, three], headers }, length)))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        get(&self.headers, name)
    }

    pub fn status(&self) -> Result<u16, Broken> {
        if !self.words[0].starts_with("HTTP/1.") {
            return Err("it is no HTTP/1.1");
        }
        self.words[1]
            .parse()
            .ok()
            .filter(|status| (100..=999).contains(status))
            .ok_or("its status is no number from 100 to 999")
    }

    /// Whether the other side will answer or ask again on this connection.
    pub fn keeps_alive(&self, version: &str) -> bool {
        if has_token(self.get("connection"), "close") {
            return false;
        }
        version == "HTTP/1.1" || has_token(self.get("connection"), "keep-alive")
    }

    /// How the body is delimited. `is_request`: without a word there is none; a response's goes on until the end.
    pub fn framing(&self, is_request: bool) -> Result<Framing, Broken> {
        let lengths: Vec<&str> = all(&self.headers, "content-length").collect();
        if let Some(coding) = self.get("transfer-encoding") {
            if !lengths.is_empty() {
                return Err("it has both a length and a transfer encoding");
            }
            return if coding.eq_ignore_ascii_case("chunked") {
                Ok(Framing::Chunked)
            } else {
                Err("its transfer encoding is not chunked")
            };
        }
        let Some(first) = lengths.first() else {
            return Ok(if is_request { Framing::Length(0) } else { Framing::UntilClose });
        };
        if lengths.iter().any(|length| length != first) || !first.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("its content-length is not one number");
        }
        first.parse().map(Framing::Length).map_err(|_| "its content-length is not one number")
    }
}

pub fn get<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn all<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Of a list with commas.
pub fn has_token(value: Option<&str>, token: &str) -> bool {
    value.is_some_and(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(token)))
}

/// They belong to one connection and are not passed on.
pub fn is_hop_by_hop(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether it can stand in a head as it is, here and at the host.
pub fn is_header(name: &str, value: &str) -> bool {
    let is_value = value.chars().all(|c| c == '\t' || (' '..='\u{ff}').contains(&c) && c != '\u{7f}');
    (1..=256).contains(&name.len()) && name.bytes().all(is_token) && is_value && value.chars().count() <= 8_192
}

fn header(line: &[u8]) -> Result<(String, String), Broken> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a header has no colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err("a header's name is no token");
    }
    if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        return Err("a header's value has a control character");
    }
    Ok((latin1(name), latin1(value).trim_matches([' ', '\t']).to_string()))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&byte)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The inverse, for what goes out again.
pub fn push_latin1(out: &mut Vec<u8>, text: &str) {
    out.extend(text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')));
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

// ---- bodies

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

    #[test]
    fn heads_parse_and_bad_ones_name_their_rule() {
        let (head, length) = Head::parse(b"POST /a?b HTTP/1.1\r\nHost: x\r\nX: \t y \r\n\r\nbody").unwrap().unwrap();
        assert_eq!(head.words, ["POST", "/a?b", "HTTP/1.1"]);
        assert_eq!((head.get("x"), length), (Some("y"), 40));
        assert_eq!(Head::parse(b"POST / HTTP/1.1\r\nHos").unwrap(), None);
        for bytes in
            [&b"X\r\n\r\n"[..], b"A b c\r\nno colon\r\n\r\n", b"A b c\r\nna me: x\r\n\r\n", b"A b c\r\nx: \x01\r\n\r\n"]
        {
            assert!(Head::parse(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        assert!(Head::parse(&b"x".repeat(70_000)).is_err());
    }

    #[test]
    fn framing_refuses_what_smuggles() {
        let framing = |headers: &str| {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n");
            Head::parse(text.as_bytes()).unwrap().unwrap().0.framing(false)
        };
        assert_eq!(framing("content-length: 7"), Ok(Framing::Length(7)));
        assert_eq!(framing("content-length: 7\r\ncontent-length: 7"), Ok(Framing::Length(7)));
        assert_eq!(framing("transfer-encoding: Chunked"), Ok(Framing::Chunked));
        assert_eq!(framing("x: y"), Ok(Framing::UntilClose));
        for bad in [
            "content-length: 7\r\ntransfer-encoding: chunked",
            "content-length: 7\r\ncontent-length: 8",
            "content-length: -1",
            "content-length: 7, 7",
            "transfer-encoding: gzip",
        ] {
            assert!(framing(bad).is_err(), "{bad}");
        }
    }
}
