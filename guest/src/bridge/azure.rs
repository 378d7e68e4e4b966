//! Contract `azure`: a custom handler of Azure Functions, as host.json describes it. With forwarding on it gets requests as they are; else each
//! invocation is a POST of `{Data, Metadata}` to the function's name, answered by `{Outputs, Logs, ReturnValue}`.

use super::failure::Failure;
use super::host::Host;
use super::http::Headers;
use super::identity;
use crate::wire::{self, Frame};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;

/// What an answer to the caller consists of.
pub struct Answer {
    pub logs: Vec<String>,
    pub head: Option<(u16, Headers)>,
    pub body: Vec<u8>,
}

pub struct Azure {
    pub command: Vec<String>,
    forwards: bool,
    /// The folder with function.json.
    function: String,
    /// Name and type of its trigger.
    trigger: (String, String),
    /// Invocations whose event is not whole.
    coming: BTreeMap<u32, (Value, Vec<u8>)>,
}

impl Azure {
    /// Of the code in `root`; `wanted` names the function where there are several.
    pub fn read(root: &str, wanted: &str) -> Result<Azure, Failure> {
        let host_file = format!("{root}/host.json");
        let handler = json_file(&host_file)?["customHandler"].take();
        let description = &handler["description"];
        let bad = |what: &str| Failure::new("Runtime.InvalidEntrypoint", &format!("\"{host_file}\" {what}."));
        let program = description["defaultExecutablePath"]
            .as_str()
            .filter(|program| !program.is_empty())
            .ok_or_else(|| bad("has no customHandler.description.defaultExecutablePath"))?;
        // In the code, else in PATH: as Azure looks for it.
        let own = format!("{root}/{program}");
        let mut command = vec![if Path::new(&own).is_file() { own } else { program.to_string() }];
        command.extend(
            description["arguments"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string),
        );
        let function = function_of(root, wanted)?;
        let bindings = json_file(&format!("{root}/{function}/function.json"))?["bindings"].take();
        let is_trigger = |binding: &&Value| binding["type"].as_str().is_some_and(|kind| kind.ends_with("Trigger"));
        let trigger = bindings.as_array().into_iter().flatten().find(is_trigger).cloned().unwrap_or_default();
        let text = |name: &str, other: &str| trigger[name].as_str().unwrap_or(other).to_string();
        Ok(Azure {
            command,
            forwards: handler["enableForwardingHttpRequest"] == true || handler["enableProxyingHttpRequest"] == true,
            function,
            trigger: (text("name", "req"), text("type", "httpTrigger")),
            coming: BTreeMap::new(),
        })
    }

    /// What the server is given instead of `frame`.
    pub fn translate(&mut self, mut frame: Frame, host: &mut Host) -> Vec<Frame> {
        if frame.kind == wire::INVOKE {
            let mut message = super::wire_json(&frame.payload);
            if !self.forwards {
                self.coming.insert(frame.stream, (message, Vec::new()));
                return Vec::new();
            }
            if message["http"].is_null() {
                let headers = json!([["content-type", message["contentType"]]]);
                message["http"] =
                    json!({ "method": "POST", "target": format!("/api/{}", self.function), "headers": headers });
                frame.payload = message.to_string().into_bytes();
            }
            return vec![frame];
        }
        let Some((_, body)) = self.coming.get_mut(&frame.stream) else { return vec![frame] };
        match frame.kind {
            wire::DATA | wire::END => {}
            wire::CANCEL => {
                let message = self.coming.remove(&frame.stream).map(|(message, _)| message).unwrap_or_default();
                return vec![open(frame.stream, message), frame];
            }
            _ => return vec![frame],
        }
        if body.len() + frame.payload.len() > EVENT_BYTES_MAX {
            self.coming.remove(&frame.stream);
            host.open(frame.stream);
            host.fail(frame.stream, Failure::new("RequestEntityTooLarge", "The event is larger than 6 MiB."));
            return Vec::new();
        }
        body.extend_from_slice(&frame.payload);
        if frame.kind == wire::DATA && frame.flags & wire::FIN == 0 {
            host.give_credit(frame.stream, frame.payload.len());
            return Vec::new();
        }
        let Some((mut message, body)) = self.coming.remove(&frame.stream) else { return Vec::new() };
        let data = self.request(&message, &body).to_string().into_bytes();
        let headers = json!([["content-type", "application/json"], ["x-azure-functions-invocationid", message["id"]]]);
        message["http"] = json!({ "method": "POST", "target": format!("/{}", self.function), "headers": headers });
        host.hold(frame.stream);
        vec![
            open(frame.stream, message),
            Frame { kind: wire::DATA, flags: wire::FIN, stream: frame.stream, payload: data },
        ]
    }

    pub fn forget_all(&mut self) -> bool {
        !std::mem::take(&mut self.coming).is_empty()
    }

    fn request(&self, message: &Value, body: &[u8]) -> Value {
        let (name, kind) = &self.trigger;
        let text = String::from_utf8_lossy(body);
        let content = if kind == "httpTrigger" {
            let http = &message["http"];
            let target = http["target"].as_str().map_or_else(|| format!("/api/{}", self.function), str::to_string);
            let mut headers = serde_json::Map::new();
            for pair in http["headers"].as_array().into_iter().flatten() {
                let name = pair[0].as_str().unwrap_or_default().to_string();
                if let Some(values) = headers.entry(name).or_insert_with(|| json!([])).as_array_mut() {
                    values.push(pair[1].clone());
                }
            }
            let query = target.split_once('?').map_or("", |(_, query)| query);
            let query: serde_json::Map<String, Value> = query
                .split('&')
                .filter(|part| !part.is_empty())
                .map(|part| part.split_once('=').unwrap_or((part, "")))
                .map(|(name, value)| (name.to_string(), json!(value)))
                .collect();
            let method = http["method"].as_str().unwrap_or("POST");
            json!({ "Url": format!("http://localhost{target}"), "Method": method, "Query": query, "Headers": headers, "Params": {},
                "Identities": [], "Body": text })
        } else {
            serde_json::from_slice(body).unwrap_or_else(|_| json!(text))
        };
        json!({ "Data": { name: content }, "Metadata": { "sys": { "MethodName": self.function, "RandGuid": identity::uuid() } } })
    }
}

/// What a custom handler answered, for the caller: `Outputs.res` where it is an HTTP answer, else the return value.
pub fn answer(status: u16, body: &[u8]) -> Result<Answer, Failure> {
    if !(200..300).contains(&status) {
        let text: String = String::from_utf8_lossy(body).chars().take(2_000).collect();
        return Err(Failure::new("HttpServer.HandlerFailed", &format!("The custom handler answered {status}: {text}")));
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| {
        Failure::new(
            "HttpServer.BadResponse",
            "The custom handler's answer is not JSON with Outputs, Logs and ReturnValue.",
        )
    })?;
    let logs = value["Logs"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect();
    let response = &value["Outputs"]["res"];
    if !response.is_object() {
        let body = match &value["ReturnValue"] {
            Value::Null if !value["Outputs"].is_null() => bytes_of(&value["Outputs"]),
            other => bytes_of(other),
        };
        return Ok(Answer { logs, head: None, body });
    }
    let status = match &response["statusCode"] {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().or(Some(200)).and_then(|status| u16::try_from(status).ok()),
    };
    let status = status.filter(|status| (200..=599).contains(status)).ok_or_else(|| {
        Failure::new("HttpServer.BadResponse", "The custom handler's Outputs.res.statusCode is not 200 to 599.")
    })?;
    let headers = response["headers"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let headers = headers.map(|(name, value)| (name.clone(), text(value))).collect();
    Ok(Answer { logs, head: Some((status, headers)), body: bytes_of(&response["body"]) })
}

/// Text as it is, nothing for null, JSON for the rest.
fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

fn open(stream: u32, message: Value) -> Frame {
    Frame { kind: wire::INVOKE, flags: 0, stream, payload: message.to_string().into_bytes() }
}

fn function_of(root: &str, wanted: &str) -> Result<String, Failure> {
    let mut names: Vec<String> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| Path::new(&format!("{root}/{name}/function.json")).is_file())
        .collect();
    names.sort_unstable();
    if names.iter().any(|name| name == wanted) {
        return Ok(wanted.to_string());
    }
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new(
            "Runtime.InvalidEntrypoint",
            &format!("There is no folder with a function.json in \"{root}\"."),
        )),
        several => Err(Failure::new(
            "Runtime.InvalidEntrypoint",
            &format!("There are several functions ({}): name one as the handler.", several.join(", ")),
        )),
    }
}

fn json_file(path: &str) -> Result<Value, Failure> {
    let bad = |why: String| Failure::new("Runtime.InvalidEntrypoint", &format!("Cannot read \"{path}\": {why}."));
    let text = fs::read(path).map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))
}
