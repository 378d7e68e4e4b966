//! The fields of a request, read and checked one by one. What is wrong is told with the rule for it.

use super::Bind;
use crate::accounts;
use crate::error::Error;
use serde_json::{Map, Value};

const LIST_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 4_096;

pub fn rule(field: &str, rule: &str) -> Error {
    Error::Field { field: field.to_string(), rule: rule.to_string() }
}

const PATH_RULE: &str = "an absolute path of at most 4096 bytes without \"..\"";

/// Absolute, no `..`, no empty or `.` parts, no NUL.
pub fn check_path(path: &str) -> Result<(), ()> {
    let is_good = path.len() <= TEXT_BYTES_MAX
        && path.len() > 1
        && path.starts_with('/')
        && !path.contains('\0')
        && path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."));
    is_good.then_some(()).ok_or(())
}

pub fn is_instance(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

pub struct Fields(pub Map<String, Value>);

impl Fields {
    pub fn bounded(&self, name: &str, bytes_max: usize) -> Result<&str, Error> {
        match self.0.get(name) {
            Some(Value::String(text)) if text.len() <= bytes_max => Ok(text),
            _ => Err(rule(name, &format!("a string of at most {bytes_max} bytes"))),
        }
    }

    pub fn text(&self, name: &str) -> Result<&str, Error> {
        self.bounded(name, TEXT_BYTES_MAX)
    }

    pub fn number(&self, name: &str, min: u64, max: u64) -> Result<u64, Error> {
        let value = self.0.get(name).and_then(Value::as_u64).filter(|value| (min..=max).contains(value));
        value.ok_or_else(|| rule(name, &format!("a whole number from {min} to {max}")))
    }

    pub fn claim(&self, name: &str) -> Result<bool, Error> {
        match self.0.get(name) {
            None => Ok(false),
            Some(Value::Bool(claim)) => Ok(*claim),
            Some(_) => Err(rule(name, "true or false")),
        }
    }

    pub fn instance(&self) -> Result<String, Error> {
        match self.text("instance") {
            Ok(name) if is_instance(name) => Ok(name.to_string()),
            _ => Err(rule("instance", "1 to 40 of a-z, 0-9 and -")),
        }
    }

    pub fn path(&self, name: &str) -> Result<String, Error> {
        path_of(name, self.0.get(name))
    }

    pub fn optional_path(&self, name: &str) -> Result<Option<String>, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            value => path_of(name, value).map(Some),
        }
    }

    /// A name for `/etc/passwd`, or null.
    pub fn user(&self, name: &str) -> Result<Option<String>, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(user)) if accounts::is_name(user) => Ok(Some(user.clone())),
            Some(_) => Err(rule(name, accounts::NAME_RULE)),
        }
    }

    pub fn list(&self, name: &str) -> Result<&[Value], Error> {
        match self.0.get(name) {
            Some(Value::Array(list)) if list.len() <= LIST_MAX => Ok(list),
            _ => Err(rule(name, &format!("a list of at most {LIST_MAX}"))),
        }
    }

    pub fn paths(&self, name: &str) -> Result<Vec<String>, Error> {
        self.list(name)?.iter().map(|value| path_of(name, Some(value))).collect()
    }

    pub fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let text = |value: &Value| match value {
            Value::String(text) if !text.contains('\0') => Ok(text.clone()),
            _ => Err(rule(name, "a list of strings")),
        };
        self.list(name)?.iter().map(text).collect()
    }

    pub fn env(&self) -> Result<Vec<(String, String)>, Error> {
        let wrong = || rule("env", "an object of strings");
        let Some(Value::Object(env)) = self.0.get("env") else { return Err(wrong()) };
        let pair = |(name, value): (&String, &Value)| match value {
            Value::String(value) if is_env_name(name) && !value.contains('\0') => Ok((name.clone(), value.clone())),
            _ => Err(wrong()),
        };
        env.iter().map(pair).collect()
    }

    pub fn binds(&self) -> Result<Vec<Bind>, Error> {
        let bind = |value: &Value| {
            let target = path_of("binds.target", value.get("target"))?;
            // These are the sandbox's own; /var/task and the like belong to `bind`.
            let own = ["/proc", "/dev", "/tmp", "/etc", "/var/task", "/var/cache", "/var/opt", "/opt"];
            if own.iter().any(|path| target == *path || target.starts_with(&format!("{path}/"))) || target == "/var" {
                return Err(rule(
                    "binds.target",
                    "outside of /proc, /dev, /tmp, /etc, /opt and what bind places in /var",
                ));
            }
            Ok(Bind { source: path_of("binds.source", value.get("source"))?, target })
        };
        self.list("binds")?.iter().map(bind).collect()
    }

    pub fn resolver_port(&self) -> Result<u16, Error> {
        match self.0.get("resolver") {
            None | Some(Value::Null) => Ok(0),
            Some(Value::Object(resolver)) => match resolver.get("port").and_then(Value::as_u64) {
                Some(port) if (1..=65_535).contains(&port) => Ok(port as u16),
                _ => Err(rule("resolver.port", "a whole number from 1 to 65535")),
            },
            Some(_) => Err(rule("resolver", "{port} or null")),
        }
    }
}

pub fn path_of(name: &str, value: Option<&Value>) -> Result<String, Error> {
    match value {
        Some(Value::String(path)) if check_path(path).is_ok() => Ok(path.clone()),
        _ => Err(rule(name, PATH_RULE)),
    }
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('=') && !name.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_path_takes_plain_absolute_paths_only() {
        for good in ["/a", "/a/b.c/..d", "/srv/with space"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "/a/", "//a", "/a/./b", "/a/..", "/../a", "/a\0b"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
