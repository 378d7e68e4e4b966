//! What a Runtime API client posts to `response`, on its way to the host: held while it is small, as it comes where it streams.

use crate::bridge::failure::Failure;
use crate::bridge::host::Host;
use crate::bridge::http::{self, Framing, Head, Headers};
use crate::wire;
use serde_json::Value;

/// As AWS counts it: 6 MiB and some room for the wrapping.
pub const BYTES_MAX: u64 = 6 * 1024 * 1024 + 100;
const PRELUDE_TYPE: &str = "application/vnd.awslambda.http-integration-response";
/// Between an HTTP prelude and the body.
const PRELUDE_END: [u8; 8] = [0; 8];
const PRELUDE_BYTES_MAX: usize = 65_536;

pub struct Reply {
    stream: u32,
    content_type: String,
    is_streaming: bool,
    /// What came of a prelude that is not whole; None once it is, and where there is none.
    prelude: Option<Vec<u8>>,
    held: Vec<u8>,
    is_begun: bool,
    bytes: u64,
    failure: Option<Failure>,
}

impl Reply {
    pub fn new(stream: u32, head: &Head, framing: Framing) -> Reply {
        let content_type = head.get("content-type").unwrap_or("application/octet-stream").to_string();
        let mode = head.get("lambda-runtime-function-response-mode");
        let has_prelude = content_type.starts_with(PRELUDE_TYPE);
        // Go streams from readers without saying so.
        let is_reader = content_type == "application/octet-stream" && framing == Framing::Chunked;
        let is_streaming = has_prelude || is_reader || mode.is_some_and(|mode| mode.eq_ignore_ascii_case("streaming"));
        let is_too_large = !is_streaming && matches!(framing, Framing::Length(length) if length > BYTES_MAX);
        Reply {
            stream,
            is_streaming,
            prelude: has_prelude.then(Vec::new),
            content_type,
            held: Vec::new(),
            is_begun: false,
            bytes: 0,
            failure: is_too_large.then(too_large),
        }
    }

    pub fn push(&mut self, host: &mut Host, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if !self.is_streaming && self.bytes > BYTES_MAX {
            self.failure.get_or_insert_with(too_large);
        }
        if self.failure.is_some() || bytes.is_empty() {
            return;
        }
        let Some(prelude) = &mut self.prelude else { return self.pass(host, bytes) };
        prelude.extend_from_slice(bytes);
        let Some(end) = http::find(prelude, &PRELUDE_END) else {
            if prelude.len() > PRELUDE_BYTES_MAX {
                self.failure =
                    Some(Failure::new("Runtime.BadPrelude", "The response's prelude has no end within 64 KiB."));
            }
            return;
        };
        let whole = self.prelude.take().unwrap_or_default();
        match parse_prelude(&whole[..end]) {
            Ok((status, headers)) => {
                self.is_begun = true;
                if let Err(failure) = host.head(self.stream, status, &headers) {
                    self.failure = Some(failure);
                    return;
                }
                self.pass(host, &whole[end + PRELUDE_END.len()..]);
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// The body is whole. `trailers` may say that it is not what the handler wanted to give. True when it was too large.
    pub fn finish(mut self, host: &mut Host, trailers: &Headers) -> bool {
        let error_type = http::get(trailers, "lambda-runtime-function-error-type");
        if let Some(error_type) = error_type {
            let body = http::get(trailers, "lambda-runtime-function-error-body").and_then(decode_base64);
            let failure = Failure::from_body(&body.unwrap_or_default(), Some(error_type));
            self.failure.get_or_insert(failure);
        }
        if self.prelude.is_some() && self.failure.is_none() {
            self.failure = Some(Failure::new("Runtime.BadPrelude", "The response ended within its prelude."));
        }
        if let Some(failure) = self.failure {
            host.fail(self.stream, failure);
            return !self.is_streaming && self.bytes > BYTES_MAX;
        }
        self.begin(host);
        host.finish_with(self.stream, &self.held);
        false
    }

    /// The client went away in the middle of it.
    pub fn broken(self, host: &mut Host) {
        host.fail(
            self.stream,
            Failure::new("Runtime.TruncatedResponse", "The connection closed before the response was whole."),
        );
    }

    pub fn stream(&self) -> u32 {
        self.stream
    }

    fn pass(&mut self, host: &mut Host, bytes: &[u8]) {
        if !self.is_streaming && self.held.len() + bytes.len() <= wire::PAYLOAD_BYTES_MAX {
            return self.held.extend_from_slice(bytes);
        }
        self.begin(host);
        let held = std::mem::take(&mut self.held);
        host.data(self.stream, &held);
        host.data(self.stream, bytes);
    }

    /// A result that was given whole is the platform's to describe: its clients call it JSON, a form or nothing, whatever it is.
    fn begin(&mut self, host: &mut Host) {
        if !std::mem::replace(&mut self.is_begun, true) && self.is_streaming {
            let headers = [("content-type".to_string(), self.content_type.clone())];
            if let Err(failure) = host.head(self.stream, 200, &headers) {
                self.failure = Some(failure);
            }
        }
    }
}

pub fn too_large() -> Failure {
    let message = format!("Exceeded maximum allowed payload size ({BYTES_MAX} bytes).");
    Failure::new("Function.ResponseSizeTooLarge", &message)
}

fn parse_prelude(bytes: &[u8]) -> Result<(u16, Headers), Failure> {
    let bad = |what: &str| Failure::new("Runtime.BadPrelude", &format!("The response's prelude is not {what}."));
    let value: Value = serde_json::from_slice(bytes).map_err(|_| bad("JSON"))?;
    let status = match &value["statusCode"] {
        Value::Null => Some(200),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|status| u16::try_from(status).ok()),
    };
    let status =
        status.filter(|status| (200..=599).contains(status)).ok_or_else(|| bad("with a statusCode of 200 to 599"))?;
    let mut headers: Headers = Vec::new();
    for (name, value) in value["headers"].as_object().into_iter().flatten() {
        headers.push((name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_string)));
    }
    for cookie in value["cookies"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        headers.push(("set-cookie".to_string(), cookie.to_string()));
    }
    Ok((status, headers))
}

/// Standard alphabet, with or without padding; None for anything else.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() * 3 / 4), 0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_decodes_with_and_without_padding() {
        assert_eq!(decode_base64("eyJhIjoxfQ=="), Some(br#"{"a":1}"#.to_vec()));
        assert_eq!(decode_base64("eyJhIjoxfQ"), Some(br#"{"a":1}"#.to_vec()));
        assert_eq!(decode_base64("a-b"), None);
        assert_eq!(decode_base64(""), Some(Vec::new()));
    }

    #[test]
    fn a_prelude_gives_status_headers_and_cookies() {
        let (status, headers) =
            parse_prelude(br#"{"statusCode":"201","headers":{"x":"y"},"cookies":["a=b","c=d"]}"#).unwrap();
        assert_eq!(status, 201);
        let pairs: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(pairs, ["x: y", "set-cookie: a=b", "set-cookie: c=d"]);
        assert!(parse_prelude(br#"{"statusCode":99}"#).is_err());
        assert!(parse_prelude(b"{").is_err());
    }
}
