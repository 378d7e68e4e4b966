//! What the platform may ask of the launcher: one JSON object a line. Every path, name and number is checked here, once.

mod fields;
mod vm;

pub use fields::{check_path, is_instance, rule};
pub use vm::{Access, JailFile, Memory, VmBase, VmFile, VmJail, VmNetwork, VmSpawn, VmVerb};

use crate::error::Error;
use fields::Fields;
use serde_json::Value;

pub const LINE_BYTES_MAX: usize = 65_536;

#[derive(Debug, PartialEq, Eq)]
pub struct Bind {
    pub source: String,
    pub target: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Spawn {
    pub instance: String,
    pub channel: String,
    pub supervisor: String,
    pub uid: u32,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub binds: Vec<Bind>,
    pub etc: String,
    pub pids_max: u64,
    pub memory_mib: u64,
    pub tmp_mib: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub struct BindCode {
    pub instance: String,
    pub code: String,
    /// The code is a whole file system, and becomes the sandbox's root: the name of whoever runs there.
    pub root_user: Option<String>,
    pub cache: Option<String>,
    pub layers: Vec<String>,
    pub memory_mib: u64,
    pub cpu_share: u64,
    pub tmp_mib: u64,
    /// Port of the platform's resolver when the network is `egress`; 0 without one.
    pub egress: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verb {
    Probe,
    Spawn(Box<Spawn>),
    Bind(Box<BindCode>),
    Freeze { instance: String },
    Thaw { instance: String },
    Kill { instance: String },
    Stats { instance: String, reset_peak: bool },
    List,
    Read { path: String },
    Publish { path: String, content: String },
    Vm(VmVerb),
}

impl Verb {
    /// The instance that something is asked of; none for verbs that make or end one.
    pub fn instance(&self) -> Option<&str> {
        match self {
            Verb::Bind(request) => Some(&request.instance),
            Verb::Freeze { instance } | Verb::Thaw { instance } | Verb::Stats { instance, .. } => Some(instance),
            _ => None,
        }
    }
}

/// The id of a line, as far as it can be told, and its verb or what is wrong with it.
pub fn parse(line: &[u8]) -> (Option<u64>, Result<Verb, Error>) {
    let fields = match serde_json::from_slice::<Value>(line) {
        Ok(Value::Object(fields)) => Fields(fields),
        Ok(_) => return (None, Err(Error::Line { reason: "it is no object".to_string() })),
        Err(error) => return (None, Err(Error::Line { reason: error.to_string() })),
    };
    match fields.number("id", 0, u64::MAX >> 11) {
        Ok(id) => (Some(id), verb(&fields)),
        Err(error) => (None, Err(error)),
    }
}

fn verb(fields: &Fields) -> Result<Verb, Error> {
    Ok(match fields.text("verb")? {
        "probe" => Verb::Probe,
        "spawn" => Verb::Spawn(Box::new(spawn(fields)?)),
        "bind" => Verb::Bind(Box::new(bind(fields)?)),
        "freeze" => Verb::Freeze { instance: fields.instance()? },
        "thaw" => Verb::Thaw { instance: fields.instance()? },
        "kill" => Verb::Kill { instance: fields.instance()? },
        "stats" => Verb::Stats { instance: fields.instance()?, reset_peak: fields.claim("resetPeak")? },
        "list" => Verb::List,
        "publish" => Verb::Publish {
            path: fields.path("path")?,
            content: fields.bounded("content", LINE_BYTES_MAX)?.to_string(),
        },
        "read" => Verb::Read { path: fields.path("path")? },
        name if name.starts_with("vm_") => Verb::Vm(vm::parse(name, fields)?),
        other => return Err(Error::Verb { verb: other.chars().take(40).collect() }),
    })
}

fn spawn(fields: &Fields) -> Result<Spawn, Error> {
    let argv = fields.texts("argv")?;
    if argv.first().map_or(true, |program| check_path(program).is_err()) {
        return Err(rule("argv", "a list that starts with the absolute path of a program"));
    }
    Ok(Spawn {
        instance: fields.instance()?,
        channel: fields.path("channel")?,
        supervisor: fields.path("supervisor")?,
        uid: fields.number("uid", 1, u64::from(u32::MAX) - 1)? as u32,
        argv,
        env: fields.env()?,
        binds: fields.binds()?,
        etc: fields.path("etc")?,
        pids_max: fields.number("pidsMax", 2, 4_194_304)?,
        memory_mib: fields.number("memoryMib", 4, 1_048_576)?,
        tmp_mib: fields.number("tmpMib", 1, 1_048_576)?,
    })
}

fn bind(fields: &Fields) -> Result<BindCode, Error> {
    let egress = match fields.text("network")? {
        "none" => None,
        "egress" => Some(fields.resolver_port()?),
        _ => return Err(rule("network", "\"none\" or \"egress\"")),
    };
    Ok(BindCode {
        instance: fields.instance()?,
        code: fields.path("code")?,
        root_user: fields.user("rootUser")?,
        cache: fields.optional_path("cache")?,
        layers: fields.paths("layers")?,
        memory_mib: fields.number("memoryMib", 4, 1_048_576)?,
        cpu_share: fields.number("cpuShare", 2, 262_144)?,
        tmp_mib: fields.number("tmpMib", 1, 1_048_576)?,
        egress,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAWN: &str = r#"{"id":1,"verb":"spawn","instance":"i-7","channel":"/d/c","supervisor":"/d/s","uid":70001,
        "argv":["/usr/bin/env","-i"],"env":{"PATH":"/usr/bin"},"binds":[{"source":"/d/shim","target":"/var/runtime"}],
        "etc":"/d/etc","pidsMax":64,"memoryMib":128,"tmpMib":64}"#;

    fn error_of(line: &str) -> String {
        parse(line.as_bytes()).1.unwrap_err().to_string()
    }

    #[test]
    fn parse_reads_a_spawn() {
        let (id, verb) = parse(SPAWN.as_bytes());
        assert_eq!(id, Some(1));
        let Verb::Spawn(spawn) = verb.unwrap() else { panic!("not a spawn") };
        assert_eq!(spawn.argv, ["/usr/bin/env", "-i"]);
        assert_eq!(spawn.env, [("PATH".to_string(), "/usr/bin".to_string())]);
        assert_eq!(spawn.binds, [Bind { source: "/d/shim".to_string(), target: "/var/runtime".to_string() }]);
    }

    #[test]
    fn parse_refuses_lines_that_are_no_request() {
        assert_eq!(error_of("[1]"), "A request must be one JSON object a line: it is no object.");
        assert!(error_of("{").starts_with("A request must be one JSON object a line: EOF"));
        assert_eq!(error_of("{}"), "Field \"id\" must be a whole number from 0 to 9007199254740991.");
        assert_eq!(error_of(r#"{"id":1,"verb":"dance"}"#), "Unknown verb \"dance\".");
        assert!(parse(&[0xff, 0xfe]).1.is_err());
    }

    #[test]
    fn parse_refuses_bad_fields_by_name() {
        let rows = [
            (r#""instance":"i-7""#, r#""instance":"I/7""#, "Field \"instance\" must be 1 to 40 of a-z, 0-9 and -."),
            (r#""uid":70001"#, r#""uid":0"#, "Field \"uid\" must be a whole number from 1 to 4294967294."),
            (r#""uid":70001"#, r#""uid":-1"#, "Field \"uid\" must be a whole number from 1 to 4294967294."),
            (
                r#""memoryMib":128"#,
                r#""memoryMib":1.5"#,
                "Field \"memoryMib\" must be a whole number from 4 to 1048576.",
            ),
            (r#""env":{"PATH":"/usr/bin"}"#, r#""env":{"A":1}"#, "Field \"env\" must be an object of strings."),
            (r#""env":{"PATH":"/usr/bin"}"#, r#""env":{"A=B":""}"#, "Field \"env\" must be an object of strings."),
            (
                r#""/usr/bin/env""#,
                r#""env""#,
                "Field \"argv\" must be a list that starts with the absolute path of a program.",
            ),
            (
                r#""target":"/var/runtime""#,
                r#""target":"/proc/sys""#,
                "Field \"binds.target\" must be outside of /proc, /dev, /tmp, /etc, /opt and what bind places in /var.",
            ),
            (
                r#""source":"/d/shim""#,
                r#""source":"/d/../etc""#,
                "Field \"binds.source\" must be an absolute path of at most 4096 bytes without \"..\".",
            ),
        ];
        for (good, bad, text) in rows {
            assert_eq!(error_of(&SPAWN.replace(good, bad)), text);
        }
    }

    #[test]
    fn parse_reads_both_networks_of_a_bind() {
        let line = |network: &str| {
            format!(
                r#"{{"id":2,"verb":"bind","instance":"i","code":"/c","cache":null,"layers":["/l"],"memoryMib":64,"cpuShare":1024,"tmpMib":8,{network}}}"#
            )
        };
        let egress = |network: &str| match parse(line(network).as_bytes()).1 {
            Ok(Verb::Bind(bind)) => bind.egress,
            other => panic!("{other:?}"),
        };
        assert_eq!(egress(r#""network":"none","resolver":null"#), None);
        assert_eq!(egress(r#""network":"egress","resolver":{"port":5300}"#), Some(5300));
        assert_eq!(error_of(&line(r#""network":"lan""#)), "Field \"network\" must be \"none\" or \"egress\".");
        assert_eq!(
            error_of(&line(r#""network":"egress","resolver":{"port":0}"#)),
            "Field \"resolver.port\" must be a whole number from 1 to 65535."
        );
    }
}
