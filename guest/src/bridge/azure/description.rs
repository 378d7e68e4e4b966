//! What host.json and function.json say of a custom handler.

use crate::bridge::failure::Failure;
use serde_json::Value;
use std::fs;
use std::path::Path;

pub struct Description {
    pub command: Vec<String>,
    /// Requests and answers pass as they are.
    pub forwards: bool,
    /// The folder with function.json.
    pub function: String,
    pub trigger_name: String,
    pub trigger_kind: String,
    /// Of the HTTP answer among the outputs; `$return` for the return value.
    pub output_name: String,
}

impl Description {
    /// Of the code in `root`; `wanted` names the function where there are several.
    pub fn read(root: &str, wanted: &str) -> Result<Description, Failure> {
        let host_file = format!("{root}/host.json");
        let handler = json_file(&host_file)?["customHandler"].take();
        let command = command_of(root, &handler["description"]).ok_or_else(|| {
            let message = format!("\"{host_file}\" has no customHandler.description.defaultExecutablePath.");
            Failure::new("Runtime.InvalidEntrypoint", &message)
        })?;
        let function = function_of(root, wanted)?;
        let bindings = json_file(&format!("{root}/{function}/function.json"))?["bindings"].take();
        let find = |fits: fn(&str) -> bool| {
            let mut all = bindings.as_array().into_iter().flatten();
            all.find(|binding| binding["type"].as_str().is_some_and(fits)).unwrap_or(&Value::Null)
        };
        let trigger = find(|kind| kind.ends_with("Trigger"));
        let output = find(|kind| kind.eq_ignore_ascii_case("http"));
        let text = |value: &Value, other: &str| value.as_str().unwrap_or(other).to_string();
        Ok(Description {
            command,
            forwards: handler["enableForwardingHttpRequest"] == true || handler["enableProxyingHttpRequest"] == true,
            function,
            trigger_name: text(&trigger["name"], "req"),
            trigger_kind: text(&trigger["type"], "httpTrigger"),
            output_name: text(&output["name"], "res"),
        })
    }
}

/// The program is in the code, else in PATH: as Azure looks for it.
fn command_of(root: &str, description: &Value) -> Option<Vec<String>> {
    let program = description["defaultExecutablePath"].as_str().filter(|program| !program.is_empty())?;
    let own = format!("{root}/{program}");
    let mut command = vec![if Path::new(&own).is_file() { own } else { program.to_string() }];
    let arguments = description["arguments"].as_array().into_iter().flatten();
    command.extend(arguments.filter_map(Value::as_str).map(str::to_string));
    Some(command)
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
