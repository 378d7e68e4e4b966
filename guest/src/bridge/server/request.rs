//! The head of the request that an INVOKE becomes.

use crate::bridge::failure::Failure;
use crate::bridge::http::{self, Headers};
use serde_json::Value;

pub struct Request {
    pub method: String,
    /// Without the end of its headers.
    pub head: Vec<u8>,
    pub is_upgrade: bool,
    /// As the caller said it.
    pub length: Option<u64>,
    /// An event, which its caller sent whole: so the server gets it with its length.
    pub is_event: bool,
}

impl Request {
    /// The one that INVOKE holds, or `POST /` with the event.
    pub fn of(message: &Value, port: u16) -> Result<Request, Failure> {
        let http = &message["http"];
        let is_event = http.is_null();
        let method = if is_event { "POST" } else { http["method"].as_str().unwrap_or("") };
        let target = if is_event { "/" } else { http["target"].as_str().unwrap_or("") };
        let headers = if is_event { event_headers(message) } else { request_headers(&http["headers"]) };
        if !is_clean(method) || !is_clean(target) || !headers.iter().all(is_clean_header) {
            return Err(Failure::new("HttpServer.BadRequest", "The request cannot be put into HTTP/1.1."));
        }
        let upgrade = http::get(&headers, "upgrade");
        let upgrade = upgrade.filter(|_| http::has_token(http::get(&headers, "connection"), "upgrade"));
        let mut head = Vec::new();
        http::push_latin1(&mut head, &head_text((method, target, port), &headers, upgrade));
        Ok(Request {
            method: method.to_string(),
            head,
            is_upgrade: upgrade.is_some(),
            length: http::get(&headers, "content-length").and_then(|length| length.parse().ok()),
            is_event,
        })
    }

    /// A second one like it does no harm, and it has at most `bytes_max`. What does not say how long its body is has none, but for a PUT.
    pub fn may_repeat(&self, bytes_max: u64) -> bool {
        let body = match self.method.as_str() {
            "GET" | "HEAD" | "OPTIONS" | "DELETE" => Some(self.length.unwrap_or(0)),
            "PUT" => self.length,
            _ => None,
        };
        !self.is_upgrade && body.is_some_and(|bytes| bytes.saturating_add(self.head.len() as u64) <= bytes_max)
    }
}

fn head_text((method, target, port): (&str, &str, u16), headers: &Headers, upgrade: Option<&str>) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if http::get(headers, "host").is_none() {
        text.push_str(&format!("host: 127.0.0.1:{port}\r\n"));
    }
    for (name, value) in headers {
        if !http::is_hop_by_hop(name) && !name.eq_ignore_ascii_case("expect") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if let Some(upgrade) = upgrade {
        text.push_str(&format!("connection: upgrade\r\nupgrade: {upgrade}\r\n"));
    }
    text
}

fn is_clean(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte > 0x20 && byte != 0x7f)
}

fn is_clean_header((name, value): &(String, String)) -> bool {
    is_clean(name) && !value.contains(['\r', '\n', '\0'])
}

fn event_headers(message: &Value) -> Headers {
    let mut headers = Headers::new();
    for (name, field) in
        [("content-type", "contentType"), ("hearth-invocation-id", "id"), ("traceparent", "traceparent")]
    {
        if let Some(value) = message[field].as_str() {
            headers.push((name.to_string(), value.to_string()));
        }
    }
    headers
}

fn request_headers(value: &Value) -> Headers {
    let pairs = value.as_array().map(Vec::as_slice).unwrap_or_default();
    pairs.iter().filter_map(|pair| Some((pair[0].as_str()?.to_string(), pair[1].as_str()?.to_string()))).collect()
}
