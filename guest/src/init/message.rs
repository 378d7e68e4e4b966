//! What the host says on the init channel, parsed. The host is trusted, so a message that does not parse is a bug of one of the two
//! sides; it is refused by the field's name all the same.

use super::network::Network;
use crate::accounts;
use crate::error::Error;
use serde_json::Value;
use std::net::Ipv4Addr;

pub struct Configure {
    pub now_ms: u64,
    pub epoch: String,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub hostname: String,
    pub pids_max: u64,
    pub memory_mib: u64,
    pub seed: String,
}

pub struct Bind {
    pub has_code: bool,
    /// Its code is a whole file system, and becomes the root: the name of whoever runs there.
    pub root_user: Option<String>,
    pub memory_mib: u64,
    pub tmp_mib: u64,
    pub pids_max: u64,
    pub network: Option<Network>,
}

/// After a restore; after a pause only the time counts.
pub struct Resume {
    pub now_ms: u64,
    pub identity: Option<Identity>,
}

pub struct Identity {
    pub seed: String,
    pub epoch: String,
    pub hostname: String,
    /// The VM is no clone: only its host is another.
    pub is_taken_over: bool,
}

impl Configure {
    pub fn parse(payload: &[u8]) -> Result<Configure, Error> {
        let fields = Fields::parse(payload)?;
        let argv = fields.strings("argv")?;
        if argv.is_empty() {
            return Err(bad("argv", "a list with a program"));
        }
        Ok(Configure {
            now_ms: fields.number("nowMs")?,
            epoch: fields.text("epoch")?,
            argv,
            env: fields.pairs("env")?,
            hostname: fields.text("hostname")?,
            pids_max: fields.number("pidsMax")?,
            memory_mib: fields.number("memoryMib")?,
            seed: fields.text("seed")?,
        })
    }
}

impl Bind {
    pub fn parse(payload: &[u8]) -> Result<Bind, Error> {
        let fields = Fields::parse(payload)?;
        Ok(Bind {
            has_code: fields.flag("hasCode")?,
            root_user: fields.user("rootUser")?,
            memory_mib: fields.number("memoryMib")?,
            tmp_mib: fields.number("tmpMib")?,
            pids_max: fields.number("pidsMax")?,
            network: match &fields.0["network"] {
                Value::Null => None,
                value => {
                    let network = Fields(value.clone());
                    Some(Network {
                        address: network.address("address")?,
                        gateway: network.address("gateway")?,
                        name_server: network.address("nameServer")?,
                    })
                }
            },
        })
    }
}

impl Resume {
    pub fn parse(payload: &[u8]) -> Result<Resume, Error> {
        let fields = Fields::parse(payload)?;
        let identity = match &fields.0["epoch"] {
            Value::Null => None,
            _ => Some(Identity {
                seed: fields.text("seed")?,
                epoch: fields.text("epoch")?,
                hostname: fields.text("hostname")?,
                is_taken_over: fields.flag("isTakenOver").unwrap_or(false),
            }),
        };
        Ok(Resume { now_ms: fields.number("nowMs")?, identity })
    }
}

/// `graceMs` of SHUTDOWN, at most a day.
pub fn grace_ms(payload: &[u8]) -> u64 {
    Fields::parse(payload).and_then(|fields| fields.number("graceMs")).unwrap_or(0).min(86_400_000)
}

/// `resetPeak` of STATS.
pub fn resets_peak(payload: &[u8]) -> bool {
    Fields::parse(payload).and_then(|fields| fields.flag("resetPeak")).unwrap_or(false)
}

struct Fields(Value);

impl Fields {
    fn parse(payload: &[u8]) -> Result<Fields, Error> {
        match serde_json::from_slice(payload) {
            Ok(value @ Value::Object(_)) => Ok(Fields(value)),
            Ok(_) => Err(Error::Line { reason: "it is no object".to_string() }),
            Err(error) => Err(Error::Line { reason: error.to_string() }),
        }
    }

    fn text(&self, name: &str) -> Result<String, Error> {
        self.0[name].as_str().filter(|text| !text.contains('\0')).map(str::to_string).ok_or_else(|| bad(name, "a text"))
    }

    fn user(&self, name: &str) -> Result<Option<String>, Error> {
        match &self.0[name] {
            Value::Null => Ok(None),
            Value::String(user) if accounts::is_name(user) => Ok(Some(user.clone())),
            _ => Err(bad(name, accounts::NAME_RULE)),
        }
    }

    fn number(&self, name: &str) -> Result<u64, Error> {
        self.0[name].as_u64().ok_or_else(|| bad(name, "a whole number from 0"))
    }

    fn flag(&self, name: &str) -> Result<bool, Error> {
        self.0[name].as_bool().ok_or_else(|| bad(name, "true or false"))
    }

    fn address(&self, name: &str) -> Result<Ipv4Addr, Error> {
        let address = self.0[name].as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| bad(&format!("network.{name}"), "an IPv4 address"))
    }

    fn strings(&self, name: &str) -> Result<Vec<String>, Error> {
        let list = self.0[name].as_array().and_then(|list| list.iter().map(plain_text).collect());
        list.ok_or_else(|| bad(name, "a list of texts"))
    }

    fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, Error> {
        let pair = |(name, value): (&String, &Value)| Some((name.clone(), plain_text(value)?));
        let pairs = self.0[name].as_object().and_then(|pairs| pairs.iter().map(pair).collect());
        pairs.ok_or_else(|| bad(name, "an object of texts"))
    }
}

fn plain_text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.contains('\0')).map(str::to_string)
}

fn bad(field: &str, rule: &str) -> Error {
    Error::Field { field: field.to_string(), rule: rule.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The golden vectors hold one of each.
    fn vector(name: &str) -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../test/wire/vectors.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let row = vectors["valid"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
        let hex = row["frames"][0]["payloadHex"].as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn messages_of_the_vectors_parse() {
        let configure = Configure::parse(&vector("CONFIGURE of the init")).unwrap();
        assert_eq!(configure.argv, ["/usr/bin/node", "/var/runtime/bootstrap.cjs"]);
        assert_eq!(configure.env, [("PATH".to_string(), "/usr/bin".to_string())]);
        assert_eq!((configure.epoch.as_str(), configure.memory_mib), ("e-2", 256));
        let bind = Bind::parse(&vector("BIND of the init")).unwrap();
        assert!(bind.has_code);
        assert_eq!(bind.network.unwrap().gateway, Ipv4Addr::new(100, 64, 0, 1));
        let resume = Resume::parse(&vector("RESUME of the init")).unwrap();
        let identity = resume.identity.unwrap();
        assert_eq!((identity.epoch.as_str(), identity.is_taken_over), ("e-3", false));
        let text = r#"{"nowMs":1,"seed":"","epoch":"e","hostname":"h","isTakenOver":true}"#;
        assert!(Resume::parse(text.as_bytes()).unwrap().identity.unwrap().is_taken_over);
        assert!(Resume::parse(&vector("RESUME after a pause, and its answer")).unwrap().identity.is_none());
        assert!(resets_peak(&vector("STATS")));
        assert_eq!(grace_ms(&vector("SHUTDOWN")), 500);
    }

    #[test]
    fn a_bad_field_is_named() {
        let error = |result: Result<Bind, Error>| result.err().unwrap().to_string();
        assert_eq!(error(Bind::parse(b"[]")), "A request must be one JSON object a line: it is no object.");
        let text =
            |network: &str| format!(r#"{{"hasCode":true,"memoryMib":1,"tmpMib":1,"pidsMax":1,"network":{network}}}"#);
        assert_eq!(
            error(Bind::parse(text(r#"{"address":"x"}"#).as_bytes())),
            "Field \"network.address\" must be an IPv4 address."
        );
        assert_eq!(error(Bind::parse(b"{}")), "Field \"hasCode\" must be true or false.");
        assert!(Configure::parse(br#"{"argv":["a\u0000b"]}"#).is_err());
    }
}
