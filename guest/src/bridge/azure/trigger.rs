//! What function.json says: the trigger, where it is reached, and the output that is the answer.

use super::fields::{only, text, texts};
use super::route::Route;
use serde_json::Value;

const HTTP_TRIGGER: &str = "httpTrigger";
/// `authLevel` is of Azure's keys: who may call is said by the function URL.
const HTTP_TRIGGER_FIELDS: [&str; 6] = ["type", "direction", "name", "authLevel", "methods", "route"];

pub struct Trigger {
    pub name: String,
    pub is_http: bool,
    /// Of the HTTP answer among the outputs; `$return` for the return value.
    pub output_name: String,
    /// The function's own address.
    pub route: Route,
    /// function.json has a route: what goes elsewhere is not for the function.
    is_strict: bool,
    /// In capitals; empty for any.
    methods: Vec<String>,
}

impl Trigger {
    /// `prefix` is that of host.json.
    pub fn read(function: &str, prefix: &str, file: &Value) -> Result<Trigger, String> {
        if file["disabled"] != Value::Null && file["disabled"] != false {
            return Err("disabled is not supported: delete the function, or its URL".to_string());
        }
        if file["retry"] != Value::Null {
            return Err("retry is not supported".to_string());
        }
        let bindings = file["bindings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let (triggers, others): (Vec<&Value>, Vec<&Value>) =
            bindings.iter().partition(|binding| kind_of(binding).ends_with("Trigger"));
        let [trigger] = triggers.as_slice() else {
            return Err(format!("bindings holds {} triggers, and must hold one", triggers.len()));
        };
        let output_name = output_of(&others)?;
        let is_http = kind_of(trigger).eq_ignore_ascii_case(HTTP_TRIGGER);
        let place = format!("the {}", kind_of(trigger));
        if is_http {
            only(trigger, &place, &HTTP_TRIGGER_FIELDS)?;
        }
        let route = text(trigger, &place, "route")?.filter(|_| is_http);
        let methods = if is_http { texts(trigger, &place, "methods")? } else { Vec::new() };
        let wrong = |why: String| format!("the route \"{}\" cannot be used: {why}", route.unwrap_or(function));
        Ok(Trigger {
            name: text(trigger, &place, "name")?.unwrap_or("req").to_string(),
            is_http,
            output_name,
            route: Route::parse(prefix, route.unwrap_or(function)).map_err(wrong)?,
            is_strict: route.is_some(),
            methods: methods.iter().map(|method| method.to_uppercase()).collect(),
        })
    }

    /// Azure answers 404 to what is not for a function.
    pub fn takes(&self, method: &str, target: &str) -> bool {
        let is_method = self.methods.is_empty() || self.methods.iter().any(|known| known == method);
        !self.is_http || is_method && (!self.is_strict || self.route.parameters(target).is_some())
    }
}

/// An output beside the HTTP answer would be lost; one alone goes to the caller.
fn output_of(bindings: &[&Value]) -> Result<String, String> {
    let said = |binding: &Value| {
        format!("the binding \"{}\" of type {}", binding["name"].as_str().unwrap_or(""), kind_of(binding))
    };
    if let Some(input) = bindings.iter().find(|binding| binding["direction"] != "out") {
        return Err(format!("{} is not supported: there is nothing here that it could read", said(input)));
    }
    let is_http = |binding: &&&Value| kind_of(binding).eq_ignore_ascii_case("http");
    let Some(http) = bindings.iter().find(is_http) else { return Ok("res".to_string()) };
    match bindings.iter().find(|binding| !is_http(binding)) {
        Some(other) => Err(format!(
            "{} is not supported beside an HTTP answer: there is nothing here that would take it",
            said(other)
        )),
        None => Ok(http["name"].as_str().unwrap_or("res").to_string()),
    }
}

fn kind_of(binding: &Value) -> &str {
    binding["type"].as_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(trigger: Value, more: Value) -> Result<Trigger, String> {
        let mut whole = json!({ "type": "httpTrigger", "direction": "in", "name": "req" });
        trigger.as_object().unwrap().iter().for_each(|(name, value)| whole[name] = value.clone());
        let mut bindings = vec![whole, json!({ "type": "http", "direction": "out", "name": "$return" })];
        bindings.extend(more.as_array().unwrap().iter().cloned());
        Trigger::read("hello", "api", &json!({ "bindings": bindings }))
    }

    #[test]
    fn takes_what_methods_and_route_say_and_without_a_route_any_path() {
        let any = read(json!({}), json!([])).unwrap();
        assert_eq!((any.output_name.as_str(), any.route.path()), ("$return", Ok("/api/hello".to_string())));
        assert!(any.takes("PATCH", "/") && any.takes("GET", "/api/hello"));
        let own = read(json!({ "methods": ["get", "POST"], "route": "orders/{id:int}" }), json!([])).unwrap();
        assert!(own.takes("GET", "/api/orders/7?x=y") && own.takes("POST", "/api/Orders/7/"));
        for (method, target) in
            [("PUT", "/api/orders/7"), ("GET", "/api/orders/x"), ("GET", "/orders/7"), ("GET", "/api/hello")]
        {
            assert!(!own.takes(method, target), "{method} {target}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let why = |trigger: Value, more: Value| read(trigger, more).err().unwrap();
        assert_eq!(why(json!({ "webHookType": "github" }), json!([])), "the httpTrigger.webHookType is not supported");
        assert_eq!(why(json!({ "methods": "get" }), json!([])), "the httpTrigger.methods is no list of texts");
        let route = why(json!({ "route": "{id:range(1,2)}" }), json!([]));
        assert!(route.starts_with("the route \"{id:range(1,2)}\" cannot be used: the constraint"), "{route}");
        let input = json!([{ "type": "blob", "direction": "in", "name": "file" }]);
        assert_eq!(
            why(json!({}), input),
            "the binding \"file\" of type blob is not supported: there is nothing here that it could read"
        );
        let output = json!([{ "type": "queue", "direction": "out", "name": "message" }]);
        assert!(why(json!({}), output)
            .starts_with("the binding \"message\" of type queue is not supported beside an HTTP answer"));
        let second = json!([{ "type": "queueTrigger", "direction": "in", "name": "item" }]);
        assert_eq!(why(json!({}), second), "bindings holds 2 triggers, and must hold one");
        let file = |field: &str, value: Value| {
            Trigger::read("hello", "api", &json!({ field: value, "bindings": [] })).err().unwrap()
        };
        assert!(file("disabled", json!(true)).starts_with("disabled is not supported"));
        assert_eq!(file("retry", json!({ "strategy": "fixedDelay" })), "retry is not supported");
        assert_eq!(file("disabled", json!(false)), "bindings holds 0 triggers, and must hold one");
    }
}
