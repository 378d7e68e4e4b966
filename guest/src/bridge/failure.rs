//! What is told to the host instead of a result.

use serde_json::{json, Value};

/// Longer texts are cut: they come from the user's program.
const TYPE_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 16_384;
const LINES_MAX: usize = 64;
const LINE_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub error_type: String,
    pub message: String,
    pub stack: Vec<String>,
}

impl Failure {
    pub fn new(error_type: &str, message: &str) -> Failure {
        Failure { error_type: error_type.to_string(), message: message.to_string(), stack: Vec::new() }
    }

    /// Of the error body that a Runtime API client posts. `fallback` is the type of its header, if it sent one.
    pub fn from_body(body: &[u8], fallback: Option<&str>) -> Failure {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let error_type = text("errorType").or(fallback).unwrap_or("Function.Unknown").to_string();
        let message = match text("errorMessage") {
            Some(message) => message.to_string(),
            None => String::from_utf8_lossy(&body[..body.len().min(MESSAGE_BYTES_MAX)]).into_owned(),
        };
        let lines = value.get("stackTrace").or_else(|| value.get("trace")).and_then(Value::as_array);
        let stack = lines.map(|lines| lines.iter().map(line).collect()).unwrap_or_default();
        Failure { error_type, message, stack }
    }

    /// Payload of FAIL; always fits one frame.
    pub fn json(&self, phase: Option<&str>) -> String {
        let mut stack: Vec<String> = self.stack.iter().take(LINES_MAX).map(|line| cut(line, LINE_BYTES_MAX)).collect();
        stack.retain(|line| !line.is_empty());
        let mut body = json!({
            "errorType": cut(&self.error_type, TYPE_BYTES_MAX),
            "errorMessage": cut(&self.message, MESSAGE_BYTES_MAX),
            "stackTrace": stack,
        });
        if let Some(phase) = phase {
            body["phase"] = json!(phase);
        }
        let text = body.to_string();
        // Escapes can make each character six bytes long.
        if text.len() <= crate::wire::PAYLOAD_BYTES_MAX {
            return text;
        }
        body["stackTrace"] = json!([]);
        body["errorMessage"] = json!(cut(&self.message, MESSAGE_BYTES_MAX / 4));
        body.to_string()
    }
}

/// A line of a stack trace as text: Go sends objects.
fn line(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim_end().to_string(),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("");
            let number = fields.get("line").and_then(Value::as_u64).unwrap_or(0);
            format!("{} {}:{number}", text("label"), text("path"))
        }
        other => other.to_string(),
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_body_takes_each_clients_own_form() {
        let node = Failure::from_body(br#"{"errorType":"TypeError","errorMessage":"no","trace":["a","b"]}"#, None);
        assert_eq!((node.error_type.as_str(), node.message.as_str(), node.stack.len()), ("TypeError", "no", 2));
        let go = Failure::from_body(
            br#"{"errorType":"errorString","errorMessage":"x","stackTrace":[{"path":"main.go","line":7,"label":"main"}]}"#,
            None,
        );
        assert_eq!(go.stack, ["main main.go:7"]);
        assert_eq!(Failure::from_body(b"not json", Some("Function.Bad")).error_type, "Function.Bad");
        assert_eq!(Failure::from_body(b"not json", None).message, "not json");
    }

    #[test]
    fn json_fits_one_frame_whatever_the_program_sent() {
        let failure = Failure {
            error_type: "\u{1}".repeat(9000),
            message: "\u{1}".repeat(99_999),
            stack: vec!["\u{2}".repeat(9000); 500],
        };
        assert!(failure.json(Some("code_load")).len() <= crate::wire::PAYLOAD_BYTES_MAX);
    }
}
