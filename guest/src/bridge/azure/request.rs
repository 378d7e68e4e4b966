//! What a custom handler is asked: `{Data, Metadata}`.

use super::description::Description;
use crate::bridge::identity;
use serde_json::{json, Map, Value};

impl Description {
    /// About the event `body` of INVOKE `message`.
    pub fn request(&self, message: &Value, body: &[u8]) -> Value {
        let text = String::from_utf8_lossy(body);
        let content = if self.trigger_kind == "httpTrigger" {
            self.http_data(&message["http"], &text)
        } else {
            serde_json::from_slice(body).unwrap_or_else(|_| json!(text))
        };
        let name = &self.trigger_name;
        let sys = json!({ "MethodName": self.function, "RandGuid": identity::uuid() });
        json!({ "Data": { name: content }, "Metadata": { "sys": sys } })
    }

    /// A request, or a plain event as one to the function's own address.
    fn http_data(&self, http: &Value, body: &str) -> Value {
        let target = http["target"].as_str().map_or_else(|| format!("/api/{}", self.function), str::to_string);
        let method = http["method"].as_str().unwrap_or("POST");
        json!({
            "Url": format!("http://localhost{target}"), "Method": method, "Query": query(&target),
            "Headers": headers(&http["headers"]), "Params": {}, "Identities": [], "Body": body,
        })
    }
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

fn query(target: &str) -> Map<String, Value> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    pairs.map(|(name, value)| (name.to_string(), json!(value))).collect()
}
