//! What clients post: received, passed on to the host, and answered.

use super::client::{accepted, error, Receiving, Route, State};
use super::{reply, Lambda};
use crate::bridge::failure::Failure;
use crate::bridge::host::Host;

/// Errors, registrations and the like.
const SMALL_BYTES_MAX: usize = 1024 * 1024;

impl Lambda {
    /// Takes what came of a body; false when there is nothing more to do on this connection now.
    pub(super) fn read_body(&mut self, at: usize, host: &mut Host) -> bool {
        let client = &mut self.clients[at];
        let State::Receiving(receiving) = &mut client.state else { return false };
        if matches!(&receiving.route, Route::Response(reply) if !host.has_room(reply.stream())) {
            return false;
        }
        let mut content = Vec::new();
        let taken = receiving.body.take(&client.connection.input, &mut content);
        if let Ok(count) = taken {
            client.connection.input.drain(..count);
        }
        match &mut receiving.route {
            Route::Response(reply) => reply.push(host, &content),
            _ if receiving.held.len() + content.len() <= SMALL_BYTES_MAX => receiving.held.extend_from_slice(&content),
            _ => {}
        }
        if taken.is_ok() && !receiving.body.is_done() {
            return false;
        }
        let State::Receiving(receiving) = std::mem::replace(&mut client.state, State::Idle) else { return false };
        match taken {
            Ok(_) => self.complete(at, *receiving, host),
            Err(rule) => {
                client.break_off(rule);
                self.broken(*receiving, host);
            }
        }
        true
    }

    /// The connection ended, or said something impossible, before the body was whole.
    pub(super) fn broken(&mut self, Receiving { route, held, .. }: Receiving, host: &mut Host) {
        match route {
            Route::Response(reply) => {
                self.settle(reply.stream(), host);
                reply.broken(host);
            }
            Route::Error { stream, error_type } => {
                self.settle(stream, host);
                host.fail(stream, Failure::from_body(&held, error_type.as_deref()));
            }
            _ => {}
        }
    }

    fn complete(&mut self, at: usize, Receiving { body, route, held }: Receiving, host: &mut Host) {
        let answer = match route {
            Route::Response(reply) => {
                self.settle(reply.stream(), host);
                match reply.finish(host, &body.trailers) {
                    true => error(413, "RequestEntityTooLarge", &reply::too_large().message),
                    false => accepted(),
                }
            }
            Route::Error { stream, error_type } => {
                self.settle(stream, host);
                host.fail(stream, Failure::from_body(&held, error_type.as_deref()));
                accepted()
            }
            Route::InitError { error_type } if !self.is_ready && !self.has_failed_to_start => {
                self.fail_to_start(&Failure::from_body(&held, error_type.as_deref()), host);
                accepted()
            }
            Route::InitError { .. } => error(403, "InvalidStateTransition", "State transition is not allowed"),
            Route::Register { name } => self.extensions.register(name.as_deref(), &held, &self.bound, self.is_ready),
            Route::ExtensionError { id, error_type, is_init } => {
                let refusal = self.extensions.name_of(id.as_deref()).map(|name| {
                    if is_init && !self.is_ready {
                        self.fail_for_extension(&name, error_type, host);
                    }
                });
                refusal.err().unwrap_or_else(accepted)
            }
            Route::Plain(answer) => answer,
        };
        // The caller's result first: the program's next step may take the processor.
        host.flush();
        self.clients[at].answer(&answer);
    }

    fn fail_for_extension(&mut self, name: &str, error_type: Option<String>, host: &mut Host) {
        let reason = error_type.unwrap_or_else(|| "no type given".to_string());
        let message = format!("The extension \"{name}\" could not start: {reason}.");
        self.fail_to_start(&Failure::new("Extension.InitError", &message), host);
    }

    fn fail_to_start(&mut self, failure: &Failure, host: &mut Host) {
        self.has_failed_to_start = true;
        host.fail_start(failure);
    }

    /// Its result is there; what extensions still do for it goes on as `waitUntil` work.
    fn settle(&mut self, stream: u32, host: &mut Host) {
        if self.extensions.are_busy() && host.note_open_work(stream) {
            self.lingering.push(stream);
        }
    }
}
