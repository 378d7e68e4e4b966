//! How host.json says that a custom handler is started: `customHandler.description`.

use super::fields::{only, text, texts};
use serde_json::Value;
use std::path::Path;

const PLACE: &str = "customHandler.description";
const FIELDS: [&str; 6] = [
    "defaultExecutablePath",
    "defaultWorkerPath",
    "workingDirectory",
    "workerDirectory",
    "arguments",
    "workerArguments",
];

#[derive(Debug, PartialEq, Eq)]
pub struct Launch {
    pub command: Vec<String>,
    /// The handler's working folder.
    pub folder: String,
}

impl Launch {
    /// Of the code in `root`. Executable, its arguments, the worker's path and the worker's arguments, in Azure's order; relative paths are below
    /// `workerDirectory`, which is `root` unless it says otherwise, or for the executable in `workingDirectory` or PATH.
    pub fn read(root: &str, description: &Value) -> Result<Launch, String> {
        only(description, PLACE, &FIELDS)?;
        let path = |name: &str| {
            let found = text(description, PLACE, name)?;
            match found.filter(|found| has_variable(found)) {
                Some(found) => Err(format!("{PLACE}.{name} \"{found}\" holds a %VARIABLE%, which is not supported")),
                None => Ok(found),
            }
        };
        let program =
            path("defaultExecutablePath")?.ok_or_else(|| format!("{PLACE}.defaultExecutablePath is missing"))?;
        let below =
            |name: &str| path(name).map(|folder| folder.map_or_else(|| root.to_string(), |folder| join(root, folder)));
        let (folder, worker_folder) = (below("workingDirectory")?, below("workerDirectory")?);
        for (name, folder) in [("workingDirectory", &folder), ("workerDirectory", &worker_folder)] {
            if !Path::new(folder).is_dir() {
                return Err(format!("{PLACE}.{name} is \"{folder}\", and there is no such folder"));
            }
        }
        let own = [join(&worker_folder, program), join(&folder, program)];
        let mut command =
            vec![own.into_iter().find(|file| Path::new(file).is_file()).unwrap_or_else(|| program.to_string())];
        command.extend(texts(description, PLACE, "arguments")?);
        if let Some(worker) = path("defaultWorkerPath")? {
            let worker = join(&worker_folder, worker);
            if !Path::new(&worker).is_file() {
                return Err(format!("{PLACE}.defaultWorkerPath is \"{worker}\", and there is no such file"));
            }
            command.push(worker);
        }
        command.extend(texts(description, PLACE, "workerArguments")?);
        Ok(Launch { command, folder })
    }
}

fn join(folder: &str, path: &str) -> String {
    Path::new(folder).join(path).to_string_lossy().into_owned()
}

/// Azure replaces `%NAME%` by what its own settings say.
fn has_variable(text: &str) -> bool {
    let mut parts = text.split('%').skip(1);
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = parts.next();
    name.is_some_and(is_name) && parts.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn words_come_in_azures_order_and_paths_are_found_where_azure_finds_them() {
        let root = format!("{}/hearth-launch-{}", std::env::temp_dir().display(), crate::bridge::identity::hex(8));
        fs::create_dir_all(format!("{root}/bin")).unwrap();
        for file in ["handler", "bin/inner", "worker.js"] {
            fs::write(format!("{root}/{file}"), "").unwrap();
        }
        let read = |description: Value| {
            let told = Launch::read(&root, &description).map(|launch| (launch.command.join(" "), launch.folder));
            told.map(|(command, folder)| (command.replace(&root, "ROOT"), folder.replace(&root, "ROOT")))
        };
        let ok = |command: &str, folder: &str| Ok((command.to_string(), folder.to_string()));
        let plain = json!({ "defaultExecutablePath": "handler", "arguments": ["-v"], "defaultWorkerPath": "" });
        assert_eq!(read(plain), ok("ROOT/handler -v", "ROOT"));
        let worker = json!({ "defaultExecutablePath": "node", "arguments": ["--max"], "defaultWorkerPath": "worker.js", "workerArguments": ["a"] });
        assert_eq!(read(worker), ok("node --max ROOT/worker.js a", "ROOT"));
        let inner = json!({ "defaultExecutablePath": "inner", "workingDirectory": "bin" });
        assert_eq!(read(inner), ok("ROOT/bin/inner", "ROOT/bin"));
        let no = |more: Value| {
            let mut description = json!({ "defaultExecutablePath": "handler" });
            more.as_object().unwrap().iter().for_each(|(name, value)| description[name] = value.clone());
            read(description).unwrap_err().replace(&root, "ROOT")
        };
        let at = |rest: &str| format!("customHandler.description.{rest}");
        assert_eq!(no(json!({ "language": "x" })), at("language is not supported"));
        assert_eq!(no(json!({ "arguments": "-v" })), at("arguments is no list of texts"));
        assert_eq!(
            no(json!({ "workingDirectory": "no" })),
            at("workingDirectory is \"ROOT/no\", and there is no such folder")
        );
        assert_eq!(
            no(json!({ "defaultWorkerPath": "no.js" })),
            at("defaultWorkerPath is \"ROOT/no.js\", and there is no such file")
        );
        let variable = at("defaultExecutablePath \"%JAVA_HOME%/bin/java\" holds a %VARIABLE%, which is not supported");
        assert_eq!(no(json!({ "defaultExecutablePath": "%JAVA_HOME%/bin/java" })), variable);
        fs::remove_dir_all(&root).unwrap();
    }
}
