//! Contract `azure`: a custom handler of Azure Functions, as host.json describes it (description.rs). With forwarding on it gets requests as they
//! are; else each invocation is a POST of `{Data, Metadata}` to the function's name (request.rs), answered by `{Outputs, Logs, ReturnValue}`
//! (reply.rs).

mod description;
mod fields;
mod launch;
mod reply;
mod request;
mod route;
mod trigger;

pub use reply::AzureReply;

use super::failure::Failure;
use super::host::Host;
use crate::wire::{self, Frame};
use description::Description;
use serde_json::{json, Value};
use std::collections::BTreeMap;

const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;

pub struct Azure {
    description: Description,
    /// Invocations whose event is not whole: INVOKE, and what came of the event.
    coming: BTreeMap<u32, (Value, Vec<u8>)>,
}

impl Azure {
    /// Of the code in `root`; `wanted` names the function where there are several.
    pub fn read(root: &str, wanted: &str) -> Result<Azure, Failure> {
        Ok(Azure { description: Description::read(root, wanted)?, coming: BTreeMap::new() })
    }

    pub fn command(&self) -> &[String] {
        &self.description.launch.command
    }

    /// The handler's working folder.
    pub fn folder(&self) -> &str {
        &self.description.launch.folder
    }

    /// Collects the answer to one invocation; None when answers go to the caller as they are.
    pub fn reply(&self) -> Option<AzureReply> {
        (!self.description.forwards).then(|| AzureReply::new(&self.description.trigger.output_name))
    }

    /// What an earlier host wanted is no matter any more; true when something of it was coming.
    pub fn forget_all(&mut self) -> bool {
        !std::mem::take(&mut self.coming).is_empty()
    }

    /// What the server is given instead of `frame`.
    pub fn translate(&mut self, frame: Frame, host: &mut Host) -> Vec<Frame> {
        match frame.kind {
            wire::INVOKE if self.description.forwards => self.addressed(frame, host),
            // Nothing would ever end such a request.
            wire::INVOKE if is_upgrade(&frame) => {
                host.open(frame.stream);
                let message = "The custom handler takes no upgrade of a connection: set enableForwardingHttpRequest.";
                host.fail(frame.stream, Failure::new("HttpServer.BadRequest", message));
                Vec::new()
            }
            wire::INVOKE => {
                let message = super::wire_json(&frame.payload);
                if self.is_for_another(&message["http"]) {
                    not_found(frame.stream, &message["http"], host);
                } else {
                    self.coming.insert(frame.stream, (message, Vec::new()));
                }
                Vec::new()
            }
            wire::DATA | wire::END => self.collect(frame, host),
            wire::CANCEL => match self.coming.remove(&frame.stream) {
                Some((message, _)) => vec![invoke(frame.stream, &message), frame],
                None => vec![frame],
            },
            _ => vec![frame],
        }
    }

    /// An event is for the function in any case.
    fn is_for_another(&self, http: &Value) -> bool {
        let text = |name: &str| http[name].as_str().unwrap_or_default();
        !http.is_null() && !self.description.trigger.takes(text("method"), text("target"))
    }

    /// A plain event as a request to the function's own address.
    fn addressed(&self, mut frame: Frame, host: &mut Host) -> Vec<Frame> {
        let mut message = super::wire_json(&frame.payload);
        if message["http"].is_null() {
            let target = match self.description.trigger.route.path() {
                Ok(target) => target,
                Err(parameter) => {
                    let message = format!(
                        "An event has no value for {{{parameter}}} of the function's route: send it a request by its URL."
                    );
                    host.open(frame.stream);
                    host.fail(frame.stream, Failure::new("HttpServer.BadRequest", &message));
                    return Vec::new();
                }
            };
            let headers = json!([["content-type", message["contentType"]]]);
            message["http"] = json!({ "method": "POST", "target": target, "headers": headers });
            frame.payload = message.to_string().into_bytes();
        }
        vec![frame]
    }

    /// Nothing until the event is whole, then the request about it.
    fn collect(&mut self, frame: Frame, host: &mut Host) -> Vec<Frame> {
        let Some((_, body)) = self.coming.get_mut(&frame.stream) else { return vec![frame] };
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
        let payload = self.description.request(&message, &body).to_string().into_bytes();
        let headers = json!([["content-type", "application/json"], ["x-azure-functions-invocationid", message["id"]]]);
        let target = format!("/{}", self.description.function);
        message["http"] = json!({ "method": "POST", "target": target, "headers": headers });
        let whole = Frame { kind: wire::DATA, flags: wire::FIN, stream: frame.stream, payload };
        vec![invoke(frame.stream, &message), whole]
    }
}

/// Azure's answer; the function's log says why.
fn not_found(stream: u32, http: &Value, host: &mut Host) {
    host.open(stream);
    let text = |name: &str| http[name].as_str().unwrap_or_default();
    let path = text("target").split('?').next().unwrap_or_default();
    host.log(stream, format!("{} {path}: 404, the route and methods of function.json do not take it.", text("method")));
    match host.head(stream, 404, &[]) {
        Ok(()) => host.end(stream),
        Err(failure) => host.fail(stream, failure),
    }
}

fn is_upgrade(frame: &Frame) -> bool {
    let message = super::wire_json(&frame.payload);
    let headers = message["http"]["headers"].as_array().into_iter().flatten();
    headers.filter_map(|pair| pair[0].as_str()).any(|name| name.eq_ignore_ascii_case("upgrade"))
}

fn invoke(stream: u32, message: &Value) -> Frame {
    Frame { kind: wire::INVOKE, flags: 0, stream, payload: message.to_string().into_bytes() }
}
