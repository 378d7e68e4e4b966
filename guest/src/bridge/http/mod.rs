//! HTTP/1.1 as far as two neighbours in one sandbox need it: heads, and bodies (body.rs). Strict, since the other side is a stranger's program:
//! what could be read in two ways is refused.

mod body;

pub use body::{Body, Framing};

const HEAD_BYTES_MAX: usize = 65_536;
pub const HEADERS_MAX: usize = 256;
/// Of one header's value. Twin: `headerValue` of src/wire/messages.ts.
pub const VALUE_BYTES_MAX: usize = 8_192;

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
    /// The head that `bytes` begin with, and its length; None while it is not whole. Lines may end with LF alone, as those of CGI programs do that a
    /// server passes on (RFC 9112, 2.2).
    pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
        let Some((text, length)) = end_of_head(bytes) else {
            return if bytes.len() > HEAD_BYTES_MAX { Err("its head is longer than 64 KiB") } else { Ok(None) };
        };
        if length > HEAD_BYTES_MAX {
            return Err("its head is longer than 64 KiB");
        }
        let mut lines = bytes[..text].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
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
    (1..=256).contains(&name.len())
        && name.bytes().all(is_token)
        && is_value
        && value.chars().count() <= VALUE_BYTES_MAX
}

/// Where the last header's line ends, and what follows the empty line.
fn end_of_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    ends.into_iter().find_map(|at| match &bytes[at + 1..] {
        [b'\n', ..] => Some((at, at + 2)),
        [b'\r', b'\n', ..] => Some((at, at + 3)),
        _ => None,
    })
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

/// `%XX` as the bytes they mean; what of that is no UTF-8 is replaced, what is no `%XX` stays.
pub fn percent_decoded(text: &str) -> String {
    let digit = |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.as_bytes().get(at) {
        match (*byte == b'%').then(|| digit(at + 1).zip(digit(at + 2))).flatten() {
            Some((high, low)) => {
                bytes.push((high << 4 | low) as u8);
                at += 3;
            }
            None => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_parse_and_bad_ones_name_their_rule() {
        let (head, length) = Head::parse(b"POST /a?b HTTP/1.1\r\nHost: x\r\nX: \t y \r\n\r\nbody").unwrap().unwrap();
        assert_eq!(head.words, ["POST", "/a?b", "HTTP/1.1"]);
        assert_eq!((head.get("x"), length), (Some("y"), 40));
        assert_eq!(Head::parse(b"POST / HTTP/1.1\r\nHos").unwrap(), None);
        let (head, length) = Head::parse(b"HTTP/1.1 200 OK\r\nA: b\nC: d\n\nbody").unwrap().unwrap();
        assert_eq!((head.get("a"), head.get("c"), length), (Some("b"), Some("d"), 28));
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\nA: b\n\r").unwrap(), None);
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
