//! What host.json and function.json say of a custom handler. Of host.json its `customHandler` and `extensions.http` are read: the rest is for Azure's own
//! host. What is in them and not supported is refused by its name.

use super::fields::{flag, only, text};
use super::launch::Launch;
use super::trigger::Trigger;
use crate::bridge::failure::Failure;
use serde_json::Value;
use std::fs;
use std::path::Path;

const HANDLER_FIELDS: [&str; 3] = ["description", "enableForwardingHttpRequest", "enableProxyingHttpRequest"];
const ROUTE_PREFIX: &str = "api";

pub struct Description {
    pub launch: Launch,
    /// Requests and answers pass as they are.
    pub forwards: bool,
    /// The folder with function.json.
    pub function: String,
    pub trigger: Trigger,
}

impl Description {
    /// Of the code in `root`; `wanted` names the function where there are several.
    pub fn read(root: &str, wanted: &str) -> Result<Description, Failure> {
        let host_file = format!("{root}/host.json");
        let host = json_file(&host_file)?;
        let of_host = |why: String| refused(&host_file, &why);
        let handler = &host["customHandler"];
        only(handler, "customHandler", &HANDLER_FIELDS).map_err(of_host)?;
        let is_on = |name: &str| flag(handler, "customHandler", name).map_err(of_host);
        let forwards = is_on("enableForwardingHttpRequest")? || is_on("enableProxyingHttpRequest")?;
        let launch = Launch::read(root, &handler["description"]).map_err(of_host)?;
        let prefix = route_prefix(&host).map_err(of_host)?;
        let function = function_of(root, wanted)?;
        let file = format!("{root}/{function}/function.json");
        let trigger = Trigger::read(&function, prefix, &json_file(&file)?).map_err(|why| refused(&file, &why))?;
        Ok(Description { launch, forwards, function, trigger })
    }
}

fn route_prefix(host: &Value) -> Result<&str, String> {
    if !host["http"].is_null() {
        return Err("http is not supported: since version 2.0 its place is extensions.http".to_string());
    }
    let http = &host["extensions"]["http"];
    only(http, "extensions.http", &["routePrefix"])?;
    let prefix = text(http, "extensions.http", "routePrefix")?;
    if prefix.is_some_and(|prefix| prefix.contains(['{', '}', '?', '#'])) {
        return Err("extensions.http.routePrefix is no plain path".to_string());
    }
    // An empty one means that there is none.
    Ok(if http["routePrefix"].is_null() { ROUTE_PREFIX } else { prefix.unwrap_or("") })
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
    let message = match names.as_slice() {
        [only] => return Ok(only.clone()),
        [] => format!("There is no folder with a function.json in \"{root}\"."),
        several => format!("There are several functions ({}): name one as the handler.", several.join(", ")),
    };
    Err(Failure::new("Runtime.InvalidEntrypoint", &message))
}

fn json_file(path: &str) -> Result<Value, Failure> {
    let bad = |why: String| Failure::new("Runtime.InvalidEntrypoint", &format!("Cannot read \"{path}\": {why}."));
    let text = fs::read(path).map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))
}

fn refused(path: &str, why: &str) -> Failure {
    Failure::new("Runtime.InvalidEntrypoint", &format!("Cannot use \"{path}\": {why}."))
}
