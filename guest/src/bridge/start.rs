//! From BIND to a program that runs.

use super::azure::Azure;
use super::bind::{Bind, Contract};
use super::dialect::Dialect;
use super::failure::Failure;
use super::host::Host;
use super::lambda::Lambda;
use super::program::{self, Program};
use super::serve::Bridge;
use super::server::Server;

const EXTENSIONS: &str = "/opt/extensions";

/// What is to be served. A program that speaks frames takes the process over instead, and this does not come back.
pub fn start(mut host: Host, bound: Bind) -> Result<Bridge, Failure> {
    if bound.is_compile {
        host.go_nonblocking();
        return Bridge::new(host, bound, Dialect::Nothing, Vec::new());
    }
    bound.enter()?;
    if bound.contract == Contract::RuntimeApi && bound.command.is_empty() && program::speaks_frames() {
        return Err(program::become_native(&bound));
    }
    host.go_nonblocking();
    match bound.contract {
        Contract::RuntimeApi => start_lambda(host, bound),
        Contract::Http => start_server(host, bound),
        Contract::Azure => start_azure(host, bound),
        Contract::Handler => Err(Failure::new("Runtime.InvalidContract", "The bridge does not serve this contract.")),
    }
}

/// Listening first: programs ask as soon as they run.
fn start_lambda(host: Host, bound: Bind) -> Result<Bridge, Failure> {
    let command = bound.command_or(&["/var/task/bootstrap", "/opt/bootstrap"])?;
    let extensions = program::files_of(EXTENSIONS);
    let lambda = Lambda::listen(&bound, &extensions)?;
    let env = bound.environment();
    let mut programs = vec![Program::start(command, &env)?];
    for file in extensions {
        programs.push(Program::start(vec![file], &env)?);
    }
    Bridge::new(host, bound, Dialect::Lambda(Box::new(lambda)), programs)
}

fn start_azure(host: Host, bound: Bind) -> Result<Bridge, Failure> {
    let azure = Azure::read(&bound.task_root, &bound.handler)?;
    let command = if bound.command.is_empty() { azure.command().to_vec() } else { bound.command.clone() };
    super::bind::enter(azure.folder())?;
    let program = Program::start(command, &bound.environment())?;
    let server = Server::new(bound.port).translated_by(azure);
    Bridge::new(host, bound, Dialect::Server(Box::new(server)), vec![program])
}

fn start_server(host: Host, bound: Bind) -> Result<Bridge, Failure> {
    let command = bound.command_or(&["/var/task/bootstrap", "/var/task/run.sh"])?;
    let program = Program::start(command, &bound.environment())?;
    let server = Server::new(bound.port);
    Bridge::new(host, bound, Dialect::Server(Box::new(server)), vec![program])
}
