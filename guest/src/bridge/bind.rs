//! BIND as the bridge needs it, and the environment of the program.

use super::failure::Failure;
use crate::sys;
use serde_json::{json, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    Handler,
    RuntimeApi,
    Http,
    Azure,
}

/// What one Version is. Holds secrets: never printed.
#[derive(Clone)]
pub struct Bind {
    pub function: String,
    pub version: String,
    pub handler: String,
    pub memory_mib: u64,
    pub task_root: String,
    pub contract: Contract,
    pub command: Vec<String>,
    pub port: u16,
    pub is_compile: bool,
    fields: Value,
}

/// Where the Runtime API is in every sandbox.
pub const RUNTIME_API: &str = "127.0.0.1:9001";
/// What a program finds of the environment that the runtime was started with.
const KEPT: [&str; 5] = ["PATH", "HOME", "TZ", "LANG", "LD_LIBRARY_PATH"];

impl Bind {
    pub fn parse(payload: &[u8]) -> Result<Bind, Failure> {
        let fields: Value = serde_json::from_slice(payload).map_err(|_| bad("it is no JSON"))?;
        let text = |name: &str| fields[name].as_str().map(str::to_string).ok_or_else(|| bad(name));
        let contract = match fields["contract"].as_str() {
            Some("runtime-api") => Contract::RuntimeApi,
            Some("http") => Contract::Http,
            Some("azure") => Contract::Azure,
            _ => Contract::Handler,
        };
        let words = fields["command"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Bind {
            function: text("function")?,
            version: text("version")?,
            handler: text("handler")?,
            memory_mib: fields["memoryMib"].as_u64().ok_or_else(|| bad("memoryMib"))?,
            task_root: text("taskRoot")?,
            contract,
            command: words.iter().filter_map(Value::as_str).map(str::to_string).collect(),
            port: fields["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(8080),
            is_compile: fields["purpose"] == "compile",
            fields,
        })
    }

    pub fn text(&self, name: &str) -> &str {
        self.fields[name].as_str().unwrap_or("")
    }

    /// The user's variables and secrets, as they came.
    pub fn has_env_of(&self, other: &Bind) -> bool {
        self.fields["env"] == other.fields["env"]
    }

    pub fn arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:function:{}", self.text("region"), self.text("accountId"), self.function)
    }

    /// The program's working folder.
    pub fn enter(&self) -> Result<(), Failure> {
        enter(&self.task_root)
    }

    /// What the program finds: the platform's defaults, the image's and the user's own, then what only the platform knows; later ones win. Where a
    /// program is to listen, who it is and whom it asks is not an image's to say: one with `ENV PORT=3000` would never be found.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)));
        kept.for_each(|(name, value)| all.push((name.to_string(), value)));
        self.add_defaults(|name, value| all.push((name.to_string(), value.to_string())));
        let own = self.fields["env"].as_object().into_iter().flatten();
        own.for_each(|(name, value)| all.push((name.clone(), value.as_str().unwrap_or("").to_string())));
        self.add_identity(|name, value| all.push((name.to_string(), value.to_string())));
        // execve(2) hands over doubles as they are, and programs differ in which they take.
        let mut last: Vec<(String, String)> = Vec::with_capacity(all.len());
        for (name, value) in all.into_iter().rev() {
            if !last.iter().any(|(known, _)| *known == name) {
                last.push((name, value));
            }
        }
        last
    }

    fn add_defaults(&self, mut set: impl FnMut(&str, &str)) {
        set("LAMBDA_TASK_ROOT", &self.task_root);
        set("LAMBDA_RUNTIME_DIR", "/var/runtime");
        set("AWS_REGION", self.text("region"));
        set("AWS_DEFAULT_REGION", self.text("region"));
        set("AWS_ENDPOINT_URL_LAMBDA", self.text("apiUrl"));
        set("_HANDLER", &self.handler);
        if self.contract == Contract::RuntimeApi {
            set("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023");
        }
    }

    /// What the platform says of itself and of the function, and what the contract's own platform would set.
    fn add_identity(&self, mut set: impl FnMut(&str, &str)) {
        set("AWS_LAMBDA_FUNCTION_NAME", &self.function);
        set("AWS_LAMBDA_FUNCTION_VERSION", &self.version);
        set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &self.memory_mib.to_string());
        set("AWS_LAMBDA_LOG_GROUP_NAME", self.text("logGroup"));
        set("AWS_LAMBDA_LOG_STREAM_NAME", self.text("logStream"));
        set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
        set("HEARTH_API_URL", self.text("apiUrl"));
        set("HEARTH_PROJECT", self.text("project"));
        match self.contract {
            Contract::Http => {
                set("PORT", &self.port.to_string());
                set("K_SERVICE", &self.function);
                set("K_REVISION", &format!("{}-{}", self.function, self.version));
                set("K_CONFIGURATION", &self.function);
            }
            Contract::RuntimeApi => set("AWS_LAMBDA_RUNTIME_API", RUNTIME_API),
            Contract::Azure => set("FUNCTIONS_CUSTOMHANDLER_PORT", &self.port.to_string()),
            Contract::Handler => {}
        }
    }

    /// HEARTH_BIND of a program that speaks frames.
    pub fn native_facts(&self) -> String {
        json!({
            "function": self.function, "version": self.version, "memoryMib": self.memory_mib,
            "logGroup": self.text("logGroup"), "logStream": self.text("logStream"),
            "region": self.text("region"), "accountId": self.text("accountId"),
        })
        .to_string()
    }
}

/// What is started from here on finds itself in `folder`.
pub fn enter(folder: &str) -> Result<(), Failure> {
    let failure = |error| Failure::new("Runtime.NoCode", &format!("Cannot enter \"{folder}\": {error}."));
    sys::chdir(folder).map_err(failure)
}

fn bad(what: &str) -> Failure {
    Failure::new("Runtime.BadBind", &format!("BIND cannot be read: {what}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(contract: &str) -> Bind {
        let message = json!({
            "function": "f", "version": "3", "project": "p", "handler": "h", "memoryMib": 256, "taskRoot": "/var/task",
            "apiUrl": "http://127.0.0.1:9010", "region": "local", "accountId": "1", "logGroup": "g", "logStream": "s",
            "env": { "TZ": "Europe/Berlin", "OWN": "1", "PORT": "1", "K_SERVICE": "x", "FUNCTIONS_CUSTOMHANDLER_PORT": "2", "AWS_LAMBDA_RUNTIME_API": "elsewhere",
                "AWS_LAMBDA_FUNCTION_NAME": "other", "HEARTH_PROJECT": "other", "AWS_REGION": "eu-central-1", "LAMBDA_TASK_ROOT": "/app" }, "purpose": "serve", "contract": contract, "command": ["a", "b"], "port": 9999,
        });
        Bind::parse(message.to_string().as_bytes()).map_err(|failure| failure.message).unwrap()
    }

    #[test]
    fn own_variables_win_but_over_what_the_platform_says_of_itself_and_no_name_comes_twice() {
        let of = |contract: &str, name: &str| {
            let env = bind(contract).environment();
            let values: Vec<String> =
                env.into_iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect();
            values.join(" and ")
        };
        for (name, value) in [("TZ", "Europe/Berlin"), ("AWS_REGION", "eu-central-1"), ("LAMBDA_TASK_ROOT", "/app")] {
            assert_eq!(of("http", name), value);
        }
        for (name, value) in
            [("PORT", "9999"), ("K_SERVICE", "f"), ("AWS_LAMBDA_FUNCTION_NAME", "f"), ("HEARTH_PROJECT", "p")]
        {
            assert_eq!(of("http", name), value);
        }
        assert_eq!(of("runtime-api", "AWS_LAMBDA_RUNTIME_API"), RUNTIME_API);
        assert_eq!(of("azure", "FUNCTIONS_CUSTOMHANDLER_PORT"), "9999");
        // Of another contract: any name like others.
        assert_eq!((of("azure", "PORT").as_str(), of("http", "FUNCTIONS_CUSTOMHANDLER_PORT").as_str()), ("1", "2"));
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        let failure = Bind::parse(br#"{"function":"f"}"#).err().unwrap();
        assert_eq!(failure.message, "BIND cannot be read: version.");
    }
}
