//! What a custom handler answers, `{Outputs, Logs, ReturnValue}`, for the caller: understood only when it is whole.

use crate::bridge::failure::Failure;
use crate::bridge::host::Host;
use crate::bridge::http::Headers;
use serde_json::Value;

/// Azure takes either name of the status.
const HTTP_FIELDS: [&str; 4] = ["statusCode", "status", "headers", "body"];
const BYTES_MAX: usize = 6 * 1024 * 1024;

/// One answer while it comes.
pub struct AzureReply {
    /// Of the output that is the HTTP answer.
    output: String,
    status: u16,
    body: Vec<u8>,
}

/// What an answer to the caller consists of.
struct Answer {
    logs: Vec<String>,
    head: Option<(u16, Headers)>,
    body: Vec<u8>,
}

impl AzureReply {
    pub fn new(output: &str) -> AzureReply {
        AzureReply { output: output.to_string(), status: 0, body: Vec::new() }
    }

    pub fn head(&mut self, status: u16) {
        self.status = status;
    }

    pub fn push(&mut self, bytes: &[u8]) {
        // One byte too many shows that it is too large.
        let count = bytes.len().min((BYTES_MAX + 1).saturating_sub(self.body.len()));
        self.body.extend_from_slice(&bytes[..count]);
    }

    /// It is whole: its logs, head and body go out.
    pub fn release(self, stream: u32, host: &mut Host) {
        let sent = self.answer().and_then(|Answer { logs, head, body }| {
            logs.into_iter().for_each(|line| host.log(stream, line));
            if let Some((status, headers)) = head {
                host.head(stream, status, &headers)?;
            }
            host.finish_with(stream, &body);
            Ok(())
        });
        if let Err(failure) = sent {
            host.fail(stream, failure);
        }
    }

    /// The HTTP output where there is one, else the return value, else all outputs.
    fn answer(&self) -> Result<Answer, Failure> {
        let value = self.parse()?;
        let logs = value["Logs"].as_array().into_iter().flatten();
        let logs = logs.filter_map(Value::as_str).map(str::to_string).collect();
        let response = if self.output == "$return" { &value["ReturnValue"] } else { &value["Outputs"][&self.output] };
        if is_http(response) {
            return Ok(Answer { logs, head: Some(head_of(response)?), body: bytes_of(&response["body"]) });
        }
        let body = match &value["ReturnValue"] {
            Value::Null if !value["Outputs"].is_null() => bytes_of(&value["Outputs"]),
            other => bytes_of(other),
        };
        Ok(Answer { logs, head: None, body })
    }

    fn parse(&self) -> Result<Value, Failure> {
        if self.body.len() > BYTES_MAX {
            let message = "The custom handler's answer is larger than 6 MiB.";
            return Err(Failure::new("Function.ResponseSizeTooLarge", message));
        }
        if !(200..300).contains(&self.status) {
            let text: String = String::from_utf8_lossy(&self.body).chars().take(2_000).collect();
            let message = format!("The custom handler answered {}: {text}", self.status);
            return Err(Failure::new("HttpServer.HandlerFailed", &message));
        }
        serde_json::from_slice(&self.body)
            .map_err(|_| bad("The custom handler's answer is not JSON with Outputs, Logs and ReturnValue."))
    }
}

fn is_http(response: &Value) -> bool {
    response.as_object().is_some_and(|fields| HTTP_FIELDS.iter().any(|name| fields.contains_key(*name)))
}

fn head_of(response: &Value) -> Result<(u16, Headers), Failure> {
    let status = match response.get("statusCode").unwrap_or(&response["status"]) {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().or(Some(200)).and_then(|status| u16::try_from(status).ok()),
    };
    let status = status
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| bad("The statusCode of the custom handler's HTTP output is not 200 to 599."))?;
    let headers = response["headers"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    Ok((status, headers.map(|(name, value)| (name.clone(), text(value))).collect()))
}

/// Text as it is, nothing for null, JSON for the rest.
fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

fn bad(message: &str) -> Failure {
    Failure::new("HttpServer.BadResponse", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(output: &str, text: &str) -> Result<Answer, Failure> {
        let mut reply = AzureReply::new(output);
        reply.head(200);
        reply.push(text.as_bytes());
        reply.answer()
    }

    #[test]
    fn the_http_output_is_the_one_that_function_json_names() {
        let of = |output: &str, text: &str| answer(output, text).map(|answer| (answer.head, answer.body)).unwrap();
        let created = Some((201, Vec::new()));
        assert_eq!(of("out", r#"{"Outputs":{"out":{"status":"201","body":"x"}}}"#), (created.clone(), b"x".to_vec()));
        assert_eq!(of("$return", r#"{"ReturnValue":{"statusCode":201,"body":[1]}}"#), (created, b"[1]".to_vec()));
        assert_eq!(of("$return", r#"{"ReturnValue":{"n":1}}"#), (None, br#"{"n":1}"#.to_vec()));
        assert_eq!(of("res", r#"{"Outputs":{"queue":"m"},"ReturnValue":null}"#), (None, br#"{"queue":"m"}"#.to_vec()));
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let of = |text: &str| answer("res", text).err().map(|failure| failure.message).unwrap();
        assert!(of("no JSON").starts_with("The custom handler's answer is not JSON"));
        assert!(of(r#"{"Outputs":{"res":{"statusCode":99}}}"#).contains("statusCode"));
        let mut reply = AzureReply::new("res");
        reply.head(200);
        (0..3).for_each(|_| reply.push(&vec![b' '; BYTES_MAX / 2]));
        let failure = reply.answer().err().unwrap();
        assert_eq!(failure.error_type, "Function.ResponseSizeTooLarge");
    }
}
