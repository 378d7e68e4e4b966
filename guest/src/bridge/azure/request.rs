//! What a custom handler is asked: `{Data, Metadata}`.

use super::description::Description;
use crate::bridge::http::percent_decoded;
use crate::bridge::identity;
use serde_json::{json, Map, Value};

impl Description {
    /// About the event `body` of INVOKE `message`.
    pub fn request(&self, message: &Value, body: &[u8]) -> Value {
        let content = if self.trigger.is_http {
            self.http_data(&message["http"], &body_text(body, content_type(message)))
        } else {
            serde_json::from_slice(body).unwrap_or_else(|_| json!(body_text(body, "")))
        };
        let name = &self.trigger.name;
        let sys = json!({ "MethodName": self.function, "RandGuid": identity::uuid() });
        json!({ "Data": { name: content }, "Metadata": { "sys": sys } })
    }

    /// A request, or a plain event as one to the function's own address, whose parameters nobody gave.
    fn http_data(&self, http: &Value, body: &str) -> Value {
        let own = || self.trigger.route.path().unwrap_or_else(|_| self.trigger.route.beginning());
        let target = http["target"].as_str().map_or_else(own, str::to_string);
        let method = http["method"].as_str().unwrap_or("POST");
        json!({
            "Url": format!("http://localhost{target}"), "Method": method, "Query": query(&target),
            "Headers": headers(&http["headers"]), "Params": self.trigger.route.parameters(&target).unwrap_or_default(),
            "Identities": [], "Body": body,
        })
    }
}

fn content_type(message: &Value) -> &str {
    let headers = message["http"]["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_type = |pair: &&Value| pair[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case("content-type"));
    let of_request = headers.iter().find(is_type).and_then(|pair| pair[1].as_str());
    of_request.or_else(|| message["contentType"].as_str()).unwrap_or_default()
}

/// As Azure gives it: `application/octet-stream` and `multipart/...` in base64, whatever is in them; so are bytes that are no text under another name.
fn body_text(body: &[u8], content_type: &str) -> String {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_binary = kind == "application/octet-stream" || kind.starts_with("multipart/");
    match std::str::from_utf8(body) {
        Ok(text) if !is_binary => text.to_string(),
        _ => base64(body),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Each name with all its values.
fn headers(pairs: &Value) -> Map<String, Value> {
    let mut headers = Map::new();
    for pair in pairs.as_array().into_iter().flatten() {
        let name = pair[0].as_str().unwrap_or_default().to_string();
        if let Some(values) = headers.entry(name).or_insert_with(|| json!([])).as_array_mut() {
            values.push(pair[1].clone());
        }
    }
    headers
}

/// Decoded as of a form. A name that comes again, in whatever case, has its values joined by commas, as with Azure.
fn query(target: &str) -> Map<String, Value> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut all: Vec<(String, String)> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let [name, value] = [name, value].map(|text| percent_decoded(&text.replace('+', " ")));
        match all.iter_mut().find(|(known, _)| known.to_lowercase() == name.to_lowercase()) {
            Some((_, values)) => values.push_str(&format!(",{value}")),
            None => all.push((name, value)),
        }
    }
    all.into_iter().map(|(name, value)| (name, json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_come_in_base64_as_azure_gives_them() {
        assert_eq!(body_text("caf\u{e9}".as_bytes(), "text/plain; charset=utf-8"), "caf\u{e9}");
        assert_eq!(body_text(b"ab", "Application/Octet-Stream"), "YWI=");
        assert_eq!(body_text(b"a\xff\x00b", "image/png"), "Yf8AYg==");
        assert_eq!(body_text(b"--x", "multipart/form-data; boundary=x"), "LS14");
        assert_eq!(base64(b""), "");
        let message = json!({ "contentType": "a/b", "http": { "headers": [["Content-Type", "c/d"]] } });
        assert_eq!((content_type(&message), content_type(&json!({ "contentType": "a/b" }))), ("c/d", "a/b"));
    }

    #[test]
    fn query_is_decoded_and_what_comes_again_is_joined() {
        let of = |text: &str| Value::Object(query(&format!("/api/hello?{text}")));
        assert_eq!(of("name=John%20Doe&q=a+b"), json!({ "name": "John Doe", "q": "a b" }));
        assert_eq!(of("a=1&A=2&b&=x&c=%2B%C3%A9"), json!({ "a": "1,2", "b": "", "": "x", "c": "+\u{e9}" }));
        assert_eq!(of("a=%zz%4&b=%ff&c==%3D"), json!({ "a": "%zz%4", "b": "\u{fffd}", "c": "==" }));
        assert_eq!(query("/api/hello"), Map::new());
    }
}
