//! The verbs for VMs.

use super::fields::{path_of, rule, Fields};
use crate::error::Error;
use serde_json::{Map, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// A UNIX socket of the platform's.
    Connect,
    /// A named pipe of the platform's, made when it is not there: what is written to it takes no disk and ends at no file's limit.
    Pipe,
}

#[derive(Debug, PartialEq, Eq)]
pub struct VmFile {
    pub path: String,
    pub access: Access,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Memory {
    /// The VMM allocates it.
    Own,
    Create {
        path: String,
        mib: u64,
    },
    Template {
        name: String,
    },
}

/// What is asked of every VMM, however it is started.
#[derive(Debug, PartialEq, Eq)]
pub struct VmBase {
    pub instance: String,
    pub uid: u32,
    pub program: String,
    pub has_tap: bool,
    pub memory_mib: u64,
    pub cpu_share: u64,
    pub pids_max: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub struct VmSpawn {
    pub base: VmBase,
    /// Arguments, without the program.
    pub argv: Vec<String>,
    pub listen: Vec<String>,
    pub files: Vec<VmFile>,
    pub memory: Memory,
    pub has_kvm: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum VmVerb {
    Spawn(Box<VmSpawn>),
    Template { name: String, path: String },
    Forget { name: String },
    Network(VmNetwork),
    Place { instance: String, name: String, path: String },
    Jail(Box<VmJail>),
    Share { instance: String, name: String },
    Adopt { instance: String },
    Sweep,
}

/// A file, and its name in the jail's root.
#[derive(Debug, PartialEq, Eq)]
pub struct JailFile {
    pub file: VmFile,
    pub name: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct VmJail {
    pub base: VmBase,
    pub jailer: String,
    pub files: Vec<JailFile>,
    /// Name of the API's socket in the jail's root.
    pub api_socket: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct VmNetwork {
    pub instance: String,
    /// Port of the platform's resolver when there is a way out; 0 without one.
    pub egress: Option<u16>,
    pub bytes_per_second: u64,
}

/// 1 Gbit/s.
const BYTES_PER_SECOND: u64 = 125_000_000;

pub fn parse(name: &str, fields: &Fields) -> Result<VmVerb, Error> {
    Ok(match name {
        "vm_spawn" => VmVerb::Spawn(Box::new(spawn(fields)?)),
        "vm_template" => VmVerb::Template { name: template_name(fields, "name")?, path: fields.path("path")? },
        "vm_forget" => VmVerb::Forget { name: template_name(fields, "name")? },
        "vm_jail" => VmVerb::Jail(Box::new(jail(fields)?)),
        "vm_share" => VmVerb::Share { instance: fields.instance()?, name: jail_name("name", fields.0.get("name"))? },
        "vm_adopt" => VmVerb::Adopt { instance: fields.instance()? },
        "vm_sweep" => VmVerb::Sweep,
        "vm_network" => VmVerb::Network(network(fields)?),
        "vm_place" => {
            VmVerb::Place { instance: fields.instance()?, name: placed_name(fields)?, path: fields.path("path")? }
        }
        other => return Err(Error::Verb { verb: other.chars().take(40).collect() }),
    })
}

fn base(fields: &Fields) -> Result<VmBase, Error> {
    Ok(VmBase {
        instance: fields.instance()?,
        uid: fields.number("uid", 1, u64::from(u32::MAX) - 1)? as u32,
        program: fields.path("program")?,
        has_tap: fields.claim("hasTap")?,
        memory_mib: fields.number("memoryMib", 4, 1_048_576)?,
        cpu_share: fields.number("cpuShare", 2, 262_144)?,
        pids_max: fields.number("pidsMax", 2, 4_194_304)?,
    })
}

fn spawn(fields: &Fields) -> Result<VmSpawn, Error> {
    Ok(VmSpawn {
        base: base(fields)?,
        argv: fields.texts("argv")?,
        listen: each(fields, "listen", |item| path_of("listen.path", item.get("path")))?,
        files: each(fields, "files", file)?,
        memory: memory(fields)?,
        has_kvm: fields.claim("hasKvm")?,
    })
}

fn jail(fields: &Fields) -> Result<VmJail, Error> {
    let jailed = |item: &Map<String, Value>| {
        let found = file(item)?;
        if found.access == Access::Connect {
            return Err(rule("files.access", "\"read\", \"write\" or \"pipe\" in a jail"));
        }
        Ok(JailFile { file: found, name: jail_name("files.name", item.get("name"))? })
    };
    Ok(VmJail {
        base: base(fields)?,
        jailer: fields.path("jailer")?,
        files: each(fields, "files", jailed)?,
        api_socket: jail_name("apiSocket", fields.0.get("apiSocket"))?,
    })
}

/// A name in the root of a jail; `dev` and `run` are the jailer's, `vm` is for what is placed later.
fn jail_name(field: &str, value: Option<&Value>) -> Result<String, Error> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_good = |name: &&str| (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain);
    let name = value.and_then(Value::as_str).filter(is_good).filter(|name| !matches!(*name, "dev" | "run" | "vm"));
    let wanted = "1 to 64 letters, digits, \"_\", \"-\" or \".\", not \"dev\", \"run\" or \"vm\"";
    name.map(str::to_string).ok_or_else(|| rule(field, wanted))
}

fn network(fields: &Fields) -> Result<VmNetwork, Error> {
    let egress = match fields.text("network")? {
        "none" => None,
        "egress" => Some(fields.resolver_port()?),
        _ => return Err(rule("network", "\"none\" or \"egress\"")),
    };
    let bytes_per_second = match fields.0.get("bytesPerSecond") {
        None | Some(Value::Null) => BYTES_PER_SECOND,
        Some(_) => fields.number("bytesPerSecond", 10_000, 100_000_000_000)?,
    };
    Ok(VmNetwork { instance: fields.instance()?, egress, bytes_per_second })
}

fn each<T>(
    fields: &Fields,
    name: &str,
    read: impl Fn(&Map<String, Value>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let one = |item: &Value| match item {
        Value::Object(item) => read(item),
        _ => Err(rule(name, "a list of objects")),
    };
    fields.list(name)?.iter().map(one).collect()
}

fn file(item: &Map<String, Value>) -> Result<VmFile, Error> {
    let path = path_of("files.path", item.get("path"))?;
    let access = match item.get("access").and_then(Value::as_str) {
        Some("read") => Access::Read,
        Some("write") => Access::Write,
        Some("connect") => Access::Connect,
        Some("pipe") => Access::Pipe,
        _ => return Err(rule("files.access", "\"read\", \"write\", \"connect\" or \"pipe\"")),
    };
    Ok(VmFile { path, access })
}

fn memory(fields: &Fields) -> Result<Memory, Error> {
    let item = match fields.0.get("memory") {
        None | Some(Value::Null) => return Ok(Memory::Own),
        Some(Value::Object(item)) => Fields(item.clone()),
        Some(_) => return Err(memory_rule()),
    };
    match (item.0.contains_key("create"), item.0.contains_key("template")) {
        (true, false) => {
            let path = path_of("memory.create", item.0.get("create"))?;
            let mib = item.number("mib", 1, 1_048_576);
            Ok(Memory::Create { path, mib: mib.map_err(|_| rule("memory.mib", "a whole number from 1 to 1048576"))? })
        }
        (false, true) => Ok(Memory::Template { name: template_name(&item, "template")? }),
        _ => Err(memory_rule()),
    }
}

fn memory_rule() -> Error {
    rule("memory", "null, {create, mib} or {template}")
}

fn template_name(fields: &Fields, field: &str) -> Result<String, Error> {
    let is_good = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    let name = fields.bounded(field, 128).ok().filter(is_good);
    name.map(str::to_string).ok_or_else(|| rule(field, "1 to 128 printable characters without spaces"))
}

fn placed_name(fields: &Fields) -> Result<String, Error> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let name = fields.bounded("name", 32).ok().filter(|name| !name.is_empty() && name.bytes().all(is_good));
    name.map(str::to_string).ok_or_else(|| rule("name", "1 to 32 lower-case letters, digits or \"-\""))
}

#[cfg(test)]
mod tests {
    use super::super::{parse, Verb};
    use super::*;

    const SPAWN: &str = r#"{"id":1,"verb":"vm_spawn","instance":"v-1","uid":70001,"program":"/usr/bin/qemu","argv":["-M","microvm"],
        "listen":[{"path":"/d/qmp"}],"files":[{"path":"/d/root","access":"read"},{"path":"/d/state","access":"connect"}],
        "memory":{"create":"/d/ram","mib":160},"hasTap":true,"memoryMib":256,"cpuShare":1024,"pidsMax":64}"#;

    fn spawn_of(line: &str) -> Result<VmSpawn, String> {
        match parse(line.as_bytes()).1 {
            Ok(Verb::Vm(VmVerb::Spawn(spawn))) => Ok(*spawn),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn parse_reads_a_vm_spawn() {
        let spawn = spawn_of(SPAWN).unwrap();
        assert_eq!(spawn.argv, ["-M", "microvm"]);
        assert_eq!(spawn.listen, ["/d/qmp"]);
        assert_eq!(spawn.files[1], VmFile { path: "/d/state".to_string(), access: Access::Connect });
        assert_eq!(spawn.memory, Memory::Create { path: "/d/ram".to_string(), mib: 160 });
        assert!(spawn.base.has_tap && !spawn.has_kvm);
        let template =
            spawn_of(&SPAWN.replace(r#"{"create":"/d/ram","mib":160}"#, r#"{"template":"sha256:ab"}"#)).unwrap();
        assert_eq!(template.memory, Memory::Template { name: "sha256:ab".to_string() });
        assert_eq!(spawn_of(&SPAWN.replace(r#"{"create":"/d/ram","mib":160}"#, "null")).unwrap().memory, Memory::Own);
    }

    #[test]
    fn parse_refuses_bad_fields_of_a_vm_by_name() {
        let rows = [
            (r#""uid":70001"#, r#""uid":0"#, "Field \"uid\" must be a whole number from 1 to 4294967294."),
            (
                r#""/usr/bin/qemu""#,
                r#""qemu""#,
                "Field \"program\" must be an absolute path of at most 4096 bytes without \"..\".",
            ),
            (r#"{"path":"/d/qmp"}"#, r#""/d/qmp""#, "Field \"listen\" must be a list of objects."),
            (
                r#""/d/qmp""#,
                "7",
                "Field \"listen.path\" must be an absolute path of at most 4096 bytes without \"..\".",
            ),
            (
                r#""connect""#,
                r#""exec""#,
                "Field \"files.access\" must be \"read\", \"write\", \"connect\" or \"pipe\".",
            ),
            (r#""mib":160"#, r#""mib":0"#, "Field \"memory.mib\" must be a whole number from 1 to 1048576."),
            (r#""mib":160"#, r#""template":"x""#, "Field \"memory\" must be null, {create, mib} or {template}."),
            (r#""hasTap":true"#, r#""hasTap":1"#, "Field \"hasTap\" must be true or false."),
        ];
        for (good, bad, text) in rows {
            assert_eq!(spawn_of(&SPAWN.replace(good, bad)), Err(text.to_string()));
        }
    }

    #[test]
    fn parse_reads_a_jail_and_refuses_names_that_leave_it() {
        let line = |name: &str, access: &str| {
            format!(
                r#"{{"id":1,"verb":"vm_jail","instance":"v-1","uid":71001,"jailer":"/j","program":"/f","apiSocket":"api.sock",
                "files":[{{"path":"/d/kernel","name":"{name}","access":"{access}"}}],"hasTap":false,"memoryMib":64,"cpuShare":2,"pidsMax":9}}"#
            )
        };
        let jail_of = |name: &str, access: &str| match parse(line(name, access).as_bytes()).1 {
            Ok(Verb::Vm(VmVerb::Jail(jail))) => Ok(jail.files[0].name.clone()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(jail_of("vm_1.kernel-6", "read"), Ok("vm_1.kernel-6".to_string()));
        for bad in ["", ".", "..", "a/b", "dev", "run", "vm", ".x"] {
            let says =
                "Field \"files.name\" must be 1 to 64 letters, digits, \"_\", \"-\" or \".\", not \"dev\", \"run\" or \"vm\".";
            assert_eq!(jail_of(bad, "read"), Err(says.to_string()), "{bad}");
        }
        let error = jail_of("state", "connect").unwrap_err();
        assert_eq!(error, "Field \"files.access\" must be \"read\", \"write\" or \"pipe\" in a jail.");
    }

    #[test]
    fn parse_reads_a_vm_network() {
        let network = |more: &str| {
            let line = format!(r#"{{"id":1,"verb":"vm_network","instance":"v-1",{more}}}"#);
            match parse(line.as_bytes()).1 {
                Ok(Verb::Vm(VmVerb::Network(network))) => Ok((network.egress, network.bytes_per_second)),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(network(r#""network":"none""#), Ok((None, BYTES_PER_SECOND)));
        let slow = r#""network":"egress","resolver":{"port":5300},"bytesPerSecond":1000000"#;
        assert_eq!(network(slow), Ok((Some(5300), 1_000_000)));
        let error = network(r#""network":"none","bytesPerSecond":1"#).unwrap_err();
        assert_eq!(error, "Field \"bytesPerSecond\" must be a whole number from 10000 to 100000000000.");
        assert_eq!(network(r#""network":"lan""#).unwrap_err(), "Field \"network\" must be \"none\" or \"egress\".");
    }

    #[test]
    fn parse_reads_templates_by_name() {
        let verb = |line: &str| parse(line.as_bytes()).1;
        let wanted = VmVerb::Template { name: "rt-1".to_string(), path: "/d/ram".to_string() };
        assert_eq!(verb(r#"{"id":1,"verb":"vm_template","name":"rt-1","path":"/d/ram"}"#), Ok(Verb::Vm(wanted)));
        let error = verb(r#"{"id":1,"verb":"vm_forget","name":"a b"}"#).unwrap_err();
        assert_eq!(error.to_string(), "Field \"name\" must be 1 to 128 printable characters without spaces.");
        assert_eq!(verb(r#"{"id":1,"verb":"vm_dance"}"#).unwrap_err().to_string(), "Unknown verb \"vm_dance\".");
    }

    #[test]
    fn parse_takes_plain_names_of_placed_files_only() {
        let line =
            |name: &str| format!(r#"{{"id":1,"verb":"vm_place","instance":"v-1","name":"{name}","path":"/d/code"}}"#);
        let wanted = VmVerb::Place { instance: "v-1".into(), name: "code-1".into(), path: "/d/code".into() };
        assert_eq!(parse(line("code-1").as_bytes()).1, Ok(Verb::Vm(wanted)));
        for bad in ["", "Code", "a/b", "..", "a.b"] {
            let error = parse(line(bad).as_bytes()).1.err().map(|error| error.to_string());
            let says = "Field \"name\" must be 1 to 32 lower-case letters, digits or \"-\".";
            assert_eq!(error.as_deref(), Some(says), "{bad}");
        }
    }
}
