//! The one error type of the launcher. A message states the action and quotes the value; `step` names where it failed.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A system call of the launcher failed.
    Os {
        step: &'static str,
        action: String,
        errno: i32,
    },
    /// A step inside a sandbox failed, before its runtime ran.
    Sandbox {
        step: String,
        errno: i32,
    },
    /// The sandbox died while it was being made, at a step unknown.
    SandboxDied {
        instance: String,
    },
    /// A line was not a request.
    Line {
        reason: String,
    },
    Field {
        field: String,
        rule: String,
    },
    Verb {
        verb: String,
    },
    UnknownInstance {
        instance: String,
    },
    InstanceExists {
        instance: String,
    },
    AlreadyBound {
        instance: String,
    },
    /// A freeze that a thaw came before the end of.
    Overtaken {
        instance: String,
    },
    TemplateExists {
        name: String,
    },
    UnknownTemplate {
        name: String,
    },
    /// A path that this launcher was not given, or that leads elsewhere.
    Path {
        field: &'static str,
        path: String,
        rule: &'static str,
    },
    /// The socket's listener is not the platform.
    Peer {
        path: String,
        uid: u32,
        wanted: u32,
    },
    /// This machine cannot do what was asked.
    Missing {
        feature: &'static str,
        reason: String,
        fix: &'static str,
    },
    Timeout {
        step: &'static str,
        action: String,
        ms: u64,
    },
    /// Another launcher holds the state folder.
    Busy {
        path: String,
    },
    Usage {
        reason: String,
    },
}

impl Error {
    pub fn os(step: &'static str, action: impl Into<String>, error: std::io::Error) -> Error {
        Error::Os { step, action: action.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// The same failure of a system call, at another step.
    pub fn with_step(self, step: &'static str) -> Error {
        match self {
            Error::Os { action, errno, .. } => Error::Os { step, action, errno },
            other => other,
        }
    }

    /// Name of the step for the reply, e.g. `cgroup.memory`.
    pub fn step(&self) -> &str {
        match self {
            Error::Os { step, .. } | Error::Timeout { step, .. } => step,
            Error::Sandbox { step, .. } => step,
            Error::SandboxDied { .. } => "sandbox",
            Error::Peer { .. } => "channel",
            Error::Missing { feature, .. } => feature,
            Error::Overtaken { .. } => "freezer",
            Error::Busy { .. } | Error::Usage { .. } => "start",
            _ => "request",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Os { action, errno, .. } => write!(f, "Cannot {action}: {}.", errno_text(*errno)),
            Error::Sandbox { step, errno } => {
                write!(f, "Cannot start the sandbox: step \"{step}\" failed: {}.", errno_text(*errno))
            }
            Error::SandboxDied { instance } => write!(f, "Sandbox \"{instance}\" died before its runtime started."),
            Error::Line { reason } => write!(f, "A request must be one JSON object a line: {reason}."),
            Error::Field { field, rule } => write!(f, "Field \"{field}\" must be {rule}."),
            Error::Verb { verb } => write!(f, "Unknown verb \"{verb}\"."),
            Error::UnknownInstance { instance } => write!(f, "There is no instance \"{instance}\"."),
            Error::InstanceExists { instance } => write!(f, "Instance \"{instance}\" exists already."),
            Error::AlreadyBound { instance } => write!(f, "Instance \"{instance}\" is bound already."),
            Error::Overtaken { instance } => write!(f, "Instance \"{instance}\" was thawed before it was frozen."),
            Error::TemplateExists { name } => write!(f, "Template \"{name}\" exists already."),
            Error::UnknownTemplate { name } => write!(f, "There is no template \"{name}\"."),
            Error::Path { field, path, rule } => write!(f, "Field \"{field}\" is \"{path}\", but it must be {rule}."),
            Error::Peer { path, uid, wanted } => {
                write!(f, "Socket \"{path}\" is listened on by uid {uid}, but it must be uid {wanted}.")
            }
            Error::Missing { feature, reason, fix } => write!(f, "Cannot provide {feature}: {reason}. {fix}"),
            Error::Timeout { action, ms, .. } => write!(f, "Cannot {action}: not done after {ms} ms."),
            Error::Busy { path } => write!(f, "Another Hearth is running with the data folder \"{path}\"."),
            Error::Usage { reason } => write!(f, "{reason}\nUsage: {}", crate::USAGE),
        }
    }
}

impl std::error::Error for Error {}

/// The system's text without Rust's "(os error N)".
pub fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

/// Adds step and action to what a system call says.
pub trait Context<T> {
    fn at(self, step: &'static str, action: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn at(self, step: &'static str, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::os(step, action(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_text_and_step() {
        let s = |text: &str| text.to_string();
        let rows: Vec<(Error, &str, &str)> = vec![
            (
                Error::Os { step: "cgroup.memory", action: s("write \"1\" to \"/x\""), errno: libc::EBUSY },
                "Cannot write \"1\" to \"/x\": Device or resource busy.",
                "cgroup.memory",
            ),
            (
                Error::Sandbox { step: s("exec"), errno: libc::ENOENT },
                "Cannot start the sandbox: step \"exec\" failed: No such file or directory.",
                "exec",
            ),
            (Error::SandboxDied { instance: s("i-7") }, "Sandbox \"i-7\" died before its runtime started.", "sandbox"),
            (
                Error::Line { reason: s("EOF while parsing") },
                "A request must be one JSON object a line: EOF while parsing.",
                "request",
            ),
            (
                Error::Field { field: s("memoryMib"), rule: s("a whole number from 4 to 1048576") },
                "Field \"memoryMib\" must be a whole number from 4 to 1048576.",
                "request",
            ),
            (Error::Verb { verb: s("dance") }, "Unknown verb \"dance\".", "request"),
            (Error::UnknownInstance { instance: s("i-7") }, "There is no instance \"i-7\".", "request"),
            (Error::InstanceExists { instance: s("i-7") }, "Instance \"i-7\" exists already.", "request"),
            (Error::AlreadyBound { instance: s("i-7") }, "Instance \"i-7\" is bound already.", "request"),
            (Error::Overtaken { instance: s("i-7") }, "Instance \"i-7\" was thawed before it was frozen.", "freezer"),
            (Error::TemplateExists { name: s("rt-1") }, "Template \"rt-1\" exists already.", "request"),
            (Error::UnknownTemplate { name: s("rt-1") }, "There is no template \"rt-1\".", "request"),
            (
                Error::Path { field: "path", path: s("/etc/x"), rule: "a --ready path" },
                "Field \"path\" is \"/etc/x\", but it must be a --ready path.",
                "request",
            ),
            (
                Error::Peer { path: s("/run/x"), uid: 0, wanted: 999 },
                "Socket \"/run/x\" is listened on by uid 0, but it must be uid 999.",
                "channel",
            ),
            (
                Error::Missing { feature: "egress", reason: s("\"nft\" is not installed"), fix: "Run: x" },
                "Cannot provide egress: \"nft\" is not installed. Run: x",
                "egress",
            ),
            (
                Error::Timeout { step: "freezer", action: s("freeze instance \"i-7\""), ms: 2000 },
                "Cannot freeze instance \"i-7\": not done after 2000 ms.",
                "freezer",
            ),
            (
                Error::Busy { path: s("/srv/.hearth") },
                "Another Hearth is running with the data folder \"/srv/.hearth\".",
                "start",
            ),
        ];
        for (error, text, step) in rows {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.step(), step);
        }
        let usage = Error::Usage { reason: s("--uid is missing.") };
        assert!(usage.to_string().starts_with("--uid is missing.\nUsage: hearth-guest up"));
    }

    #[test]
    fn at_keeps_the_errno() {
        let failed: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(libc::EACCES));
        let error = failed.at("var", || "make \"x\"".to_string()).unwrap_err();
        assert_eq!(error.to_string(), "Cannot make \"x\": Permission denied.");
    }
}
