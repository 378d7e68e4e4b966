//! The command line of `up`.

use crate::error::Error;
use crate::request::check_path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub state: String,
    pub keep: Vec<String>,
    pub sources: Vec<String>,
    pub ready: Vec<String>,
    pub readable: Vec<String>,
    pub vmms: Vec<String>,
    /// How long VMs that outlive the launcher wait for the next one.
    pub vm_wait_ms: u64,
    /// How long VMs of a former launcher wait to be adopted.
    pub adopt_wait_ms: u64,
    pub command: Vec<String>,
}

impl Default for Arguments {
    fn default() -> Arguments {
        Arguments {
            uid: None,
            gid: None,
            state: String::new(),
            keep: Vec::new(),
            sources: Vec::new(),
            ready: Vec::new(),
            readable: Vec::new(),
            vmms: Vec::new(),
            vm_wait_ms: 600_000,
            adopt_wait_ms: 30_000,
            command: Vec::new(),
        }
    }
}

pub fn parse(words: &[String]) -> Result<Arguments, Error> {
    let mut arguments = Arguments::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            arguments.command = words.cloned().collect();
            break;
        }
        let value = words.next().ok_or_else(|| usage(format!("{word} needs a value.")))?;
        let path = || match check_path(value) {
            Ok(()) => Ok(value.clone()),
            Err(()) => Err(usage(format!("{word} needs an absolute path without \"..\", not \"{value}\"."))),
        };
        let number = || value.parse().map_err(|_| usage(format!("{word} needs a number, not \"{value}\".")));
        match word.as_str() {
            "--uid" => arguments.uid = Some(number()?),
            "--gid" => arguments.gid = Some(number()?),
            "--state" => arguments.state = path()?,
            "--keep" => arguments.keep.push(path()?),
            "--source" => arguments.sources.push(path()?),
            "--vmm" => arguments.vmms.push(path()?),
            "--vm-wait-ms" => arguments.vm_wait_ms = u64::from(number()?),
            "--adopt-wait-ms" => arguments.adopt_wait_ms = u64::from(number()?),
            "--ready" => arguments.ready.push(path()?),
            "--readable" => arguments.readable.push(path()?),
            _ => return Err(usage(format!("There is no option {word}."))),
        }
    }
    if arguments.state.is_empty() {
        return Err(usage("--state is missing.".to_string()));
    }
    if arguments.command.is_empty() {
        return Err(usage("The command after -- is missing.".to_string()));
    }
    Ok(arguments)
}

fn usage(reason: String) -> Error {
    Error::Usage { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn parse_reads_every_option() {
        let got = parse(&words(
            "--uid 9 --gid 8 --state /s --keep /a --keep /b --source /c --ready /r/f --readable /t/c --vmm /v --vm-wait-ms 5 --adopt-wait-ms 6 -- node up.ts --uid 1",
        ));
        let wanted = Arguments {
            uid: Some(9),
            gid: Some(8),
            state: "/s".to_string(),
            keep: words("/a /b"),
            sources: words("/c"),
            ready: words("/r/f"),
            readable: words("/t/c"),
            vmms: words("/v"),
            vm_wait_ms: 5,
            adopt_wait_ms: 6,
            command: words("node up.ts --uid 1"),
        };
        assert_eq!(got, Ok(wanted));
    }

    #[test]
    fn parse_names_what_is_wrong() {
        let rows = [
            ("--state /s", "The command after -- is missing."),
            ("-- node", "--state is missing."),
            ("--state", "--state needs a value."),
            ("--state s -- node", "--state needs an absolute path without \"..\", not \"s\"."),
            ("--uid x --state /s -- node", "--uid needs a number, not \"x\"."),
            ("--lid 1 -- node", "There is no option --lid."),
        ];
        for (text, reason) in rows {
            assert_eq!(parse(&words(text)), Err(Error::Usage { reason: reason.to_string() }));
        }
    }
}
