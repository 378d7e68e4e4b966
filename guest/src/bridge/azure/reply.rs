//! What a custom handler answers, `{Outputs, Logs, ReturnValue}`, for the caller: understood only when it is whole.

use crate::bridge::failure::Failure;
use crate::bridge::host::Host;
use crate::bridge::http::Headers;
use serde_json::Value;

const BYTES_MAX: usize = 6 * 1024 * 1024;

/// One answer while it comes.
#[derive(Default)]
pub struct AzureReply {
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

    /// `Outputs.res` where it is an HTTP answer, else the return value, else all outputs.
    fn answer(&self) -> Result<Answer, Failure> {
        let value = self.parse()?;
        let logs = value["Logs"].as_array().into_iter().flatten();
        let logs = logs.filter_map(Value::as_str).map(str::to_string).collect();
        let response = &value["Outputs"]["res"];
        if response.is_object() {
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

fn head_of(response: &Value) -> Result<(u16, Headers), Failure> {
    let status = match &response["statusCode"] {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().or(Some(200)).and_then(|status| u16::try_from(status).ok()),
    };
    let status = status
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| bad("The custom handler's Outputs.res.statusCode is not 200 to 599."))?;
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
