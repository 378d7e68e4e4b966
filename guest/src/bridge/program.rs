//! The user's programs: found, started, watched.

use super::bind::Bind;
use super::failure::Failure;
use crate::sys::{self, Ended, Pid};
use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Speaks frames itself: made by the builder from a handler in Go or Rust.
const NATIVE: &str = "/var/task/hearth-bootstrap";

pub type Variables = [(String, String)];

pub struct Program {
    pub name: String,
    pid: Pid,
    pidfd: OwnedFd,
}

pub fn speaks_frames() -> bool {
    Path::new(NATIVE).exists()
}

/// Becomes that program; comes back only with the reason why not. The channel stays at 3, with nothing read of what follows BIND.
pub fn become_native(bound: &Bind) -> Failure {
    let mut env = bound.environment();
    env.push(("HEARTH_BIND".to_string(), bound.native_facts()));
    sys::reset_signals();
    match Image::new(NATIVE, &[NATIVE.to_string()], &env).map(|image| image.exec()) {
        Ok(error) | Err(error) => cannot_start(NATIVE, &error),
    }
}

/// The programs in a folder, by name; none where there is no folder.
pub fn files_of(folder: &str) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()).filter(|path| path.is_file()))
        .filter_map(|path| path.to_str().map(str::to_string))
        .collect();
    files.sort_unstable();
    files
}

impl Program {
    /// Starts `words`, the program first; returns when it runs.
    pub fn start(words: Vec<String>, env: &Variables) -> Result<Program, Failure> {
        let name = words.first().cloned().unwrap_or_default();
        let file = look_up(&name, env).ok_or_else(|| not_found(&name))?;
        let begin = || -> io::Result<Program> {
            let image = Image::new(&file, &words, env)?;
            let (read, write) = sys::pipe(0)?;
            let pid = match sys::fork_until_exec()? {
                0 => image.run_as_child(write.as_raw_fd()),
                pid => pid,
            };
            drop(write);
            let mut errno = [0u8; 4];
            // Closed by the exec; otherwise it holds why a child that has ended did not come to it.
            if let Ok(4) = sys::read(read.as_raw_fd(), &mut errno) {
                sys::wait(pid)?;
                return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)));
            }
            Ok(Program { name: name.clone(), pid, pidfd: sys::pidfd_open(pid)? })
        };
        begin().map_err(|error| cannot_start(&file, &error))
    }

    /// Readable when it has ended.
    pub fn interest(&self) -> libc::pollfd {
        super::entry(&self.pidfd, libc::POLLIN)
    }

    pub fn ended(&self) -> Option<Ended> {
        sys::reap(self.pid).ok().flatten().map(|(_, ended)| ended)
    }

    pub fn terminate(&self) {
        // It may have ended already.
        let _ = sys::pidfd_kill(self.pidfd.as_raw_fd(), libc::SIGTERM);
    }
}

impl Bind {
    /// The command as configured, else the first of `files` that can be executed, else the first that is there.
    pub fn command_or(&self, files: &[&str]) -> Result<Vec<String>, Failure> {
        if !self.command.is_empty() {
            return Ok(self.command.clone());
        }
        let there = || files.iter().filter(|file| Path::new(file).is_file());
        let can_run = |file: &&&str| fs::metadata(file).is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
        let found = there().find(can_run).or_else(|| there().next()).ok_or_else(|| {
            let message = format!("There is no {}: put the program there, or set \"command\".", files.join(" and no "));
            Failure::new("Runtime.InvalidEntrypoint", &message)
        })?;
        Ok(vec![found.to_string()])
    }
}

/// A name without a slash is looked for in PATH, as a shell does.
fn look_up(name: &str, env: &Variables) -> Option<String> {
    if name.contains('/') {
        return Path::new(name).exists().then(|| name.to_string());
    }
    let path = env.iter().find(|(known, _)| known == "PATH").map_or("", |(_, value)| value.as_str());
    let folders = path.split(':').filter(|folder| !folder.is_empty());
    folders.map(|folder| format!("{folder}/{name}")).find(|file| Path::new(file).is_file())
}

fn not_found(name: &str) -> Failure {
    let why = match name {
        // What ENTRYPOINT and CMD become that are written as one text.
        "/bin/sh" => {
            "there is no such file. An image without a shell must have ENTRYPOINT and CMD as lists of words (exec form)"
        }
        _ if name.starts_with('/') && !name.starts_with("/var/task/") => {
            "there is no such file in the sandbox: an image must bring its own"
        }
        _ if name.contains('/') => "there is no such file in the code",
        _ => "there is no such file in PATH",
    };
    Failure::new("Runtime.InvalidEntrypoint", &format!("Cannot start \"{name}\": {why}."))
}

fn cannot_start(file: &str, error: &io::Error) -> Failure {
    let why = match error.raw_os_error() {
        Some(libc::ENOEXEC) => not_executable_here(file),
        Some(libc::EACCES) if Path::new(file).is_dir() => "it is a folder".to_string(),
        Some(libc::EACCES) => "it is not executable: give it mode 755 before it is packed".to_string(),
        Some(libc::ENOENT) => what_it_lacks(file),
        _ => error.to_string(),
    };
    Failure::new("Runtime.InvalidEntrypoint", &format!("Cannot start \"{file}\": {why}."))
}

/// The file is there, and what it is started by is not: for a script that is named by its first line.
fn what_it_lacks(file: &str) -> String {
    let Some(line) = first_line(file) else {
        return "the loader it is linked with is not here: link it statically, or bring the loader along".to_string();
    };
    let interpreter = line.split_whitespace().next().unwrap_or_default();
    if line.ends_with('\r') {
        return format!(
            "its lines end in CRLF, so that its first asks for \"{interpreter}\\r\": save it with LF, as by sed -i 's/\\r$//'"
        );
    }
    format!("the interpreter \"{interpreter}\" of its first line is not in the sandbox: an image must bring its own")
}

/// Of a script, what follows `#!`; None for anything else.
fn first_line(file: &str) -> Option<String> {
    let mut head = [0u8; 256];
    let length = fs::File::open(file).and_then(|mut opened| opened.read(&mut head)).ok()?;
    let line = head[..length].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// Of a script that has ended at once: `env`, for one, looks for a program whose name ends in the carriage return.
pub fn hint_of(file: &str) -> &'static str {
    let has_crlf = first_line(file).is_some_and(|line| line.ends_with('\r'));
    if has_crlf {
        " Its lines end in CRLF: save it with LF."
    } else {
        ""
    }
}

/// Why the kernel does not know what to do with a file.
fn not_executable_here(file: &str) -> String {
    let mut head = [0u8; 20];
    let is_read = fs::File::open(file).and_then(|mut opened| opened.read_exact(&mut head)).is_ok();
    if !is_read || !head.starts_with(b"\x7fELF") {
        return "it is neither a program nor a script that begins with #!".to_string();
    }
    let machine = u16::from_le_bytes([head[18], head[19]]);
    let name = match machine {
        3 => "x86",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        _ => "another processor",
    };
    format!("it is built for {name}, this machine is {}", std::env::consts::ARCH)
}

/// Everything that an exec needs, made before the fork.
struct Image {
    file: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    fn new(file: &str, words: &[String], env: &Variables) -> io::Result<Image> {
        let pairs: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let strings = |list: &[String]| list.iter().map(|text| sys::c(text)).collect::<io::Result<Vec<CString>>>();
        Ok(Image { file: sys::c(file)?, argv: strings(words)?, env: strings(&pairs)? })
    }

    /// In the fork: the channel is the bridge's alone, and the program ends with the bridge.
    fn run_as_child(&self, status: i32) -> ! {
        let _ = sys::close_on_exec(super::CHANNEL);
        let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        sys::reset_signals();
        let error = match sys::set_signal_mask(&[]) {
            Ok(()) => self.exec(),
            Err(error) => error,
        };
        let _ = sys::write(status, &error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
        sys::exit(127)
    }

    /// Returns only when it failed.
    fn exec(&self) -> io::Error {
        let pointers = |list: &[CString]| {
            list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
        };
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        // SAFETY: all strings and both null-terminated lists live over the call, which returns only on failure.
        unsafe { libc::execve(self.file.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(content: &[u8], mode: u32) -> Failure {
        let file = format!("{}/hearth-program-{}", std::env::temp_dir().display(), super::super::identity::hex(8));
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let failure = Program::start(vec![file.clone()], &[]).err().unwrap();
        fs::remove_file(&file).unwrap();
        Failure { message: failure.message.replace(&file, "FILE"), ..failure }
    }

    #[test]
    fn start_says_why_a_file_cannot_be_executed() {
        let mut other = [0u8; 64];
        other[..4].copy_from_slice(b"\x7fELF");
        other[18] = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
        let failure = fail(&other, 0o755);
        assert_eq!(failure.error_type, "Runtime.InvalidEntrypoint");
        let (theirs, ours) = if cfg!(target_arch = "aarch64") { ("x86_64", "aarch64") } else { ("aarch64", "x86_64") };
        assert_eq!(
            failure.message,
            format!("Cannot start \"FILE\": it is built for {theirs}, this machine is {ours}.")
        );
        let text = fail(b"hello\n", 0o755).message;
        assert_eq!(text, "Cannot start \"FILE\": it is neither a program nor a script that begins with #!.");
        let script = fail(b"#!/no/such/interpreter -x\n", 0o755).message;
        let why = "the interpreter \"/no/such/interpreter\" of its first line is not in the sandbox: an image must bring its own";
        assert_eq!(script, format!("Cannot start \"FILE\": {why}."));
        let crlf = fail(b"#!/bin/sh\r\nexit 0\r\n", 0o755).message;
        let why = "its lines end in CRLF, so that its first asks for \"/bin/sh\\r\": save it with LF, as by sed -i 's/\\r$//'";
        assert_eq!(crlf, format!("Cannot start \"FILE\": {why}."));
        assert!(fail(b"#!/bin/sh\n", 0o644).message.contains("mode 755"));
    }

    #[test]
    fn a_name_that_is_nowhere_says_where_it_was_looked_for() {
        let message = |name: &str| Program::start(vec![name.to_string()], &[]).err().unwrap().message;
        assert_eq!(message("no-such-program"), "Cannot start \"no-such-program\": there is no such file in PATH.");
        assert_eq!(message("/"), "Cannot start \"/\": it is a folder.");
        assert_eq!(message("./no/such"), "Cannot start \"./no/such\": there is no such file in the code.");
        let own = "Cannot start \"/no/such\": there is no such file in the sandbox: an image must bring its own.";
        assert_eq!(message("/no/such"), own);
        assert!(not_found("/bin/sh").message.contains("An image without a shell"));
    }
}
