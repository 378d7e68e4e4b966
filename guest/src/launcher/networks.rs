//! What the network helper is asked and answers.

use super::Launcher;
use crate::egress;
use crate::error::Error;
use crate::netns::Answer;
use crate::request::BindCode;
use crate::sys;
use serde_json::json;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

impl Launcher {
    /// True when the helper was asked, whose answer ends the bind.
    pub(super) fn ask_egress(&mut self, serial: u32, index: Option<u16>, request: &BindCode) -> Result<bool, Error> {
        let (Some(index), Some(resolver_port)) = (index, request.egress) else { return Ok(false) };
        let (Some(pool), Some(instance)) = (&self.pool, self.instances.get_mut(&serial)) else {
            return Err(egress::missing("there is no helper"));
        };
        // A sandbox of a burst made its network itself.
        let network = match instance.network.take() {
            Some(network) => network,
            None => sys::openat(libc::AT_FDCWD, &format!("/proc/{}/ns/net", instance.pid), libc::O_RDONLY, 0)
                .map_err(|error| Error::os("egress", "open the sandbox's network", error))?,
        };
        let request = egress::Request { serial, index, resolver_port };
        pool.ask_egress(&request, network.as_raw_fd()).map_err(|error| Error::os("egress", "ask the helper", error))?;
        instance.network = Some(network);
        instance.egress_index = Some(index);
        instance.egress_asked_at = Some(Instant::now());
        Ok(true)
    }

    pub(super) fn take_networks(&mut self) {
        let Some(mut pool) = self.pool.take() else { return };
        while let Some(answer) = pool.receive() {
            match answer {
                Answer::Network => {}
                Answer::Forgotten { index, is_clean: true } => self.egress_indexes.give_back(index),
                Answer::Forgotten { index, is_clean: false } => self.egress_indexes.rest(index),
                Answer::Egress { serial, result, notice } => {
                    if let Some(notice) = notice {
                        self.control.log("warn", &notice);
                    }
                    if self.is_vm(serial) {
                        self.take_vm_network(serial, result);
                        continue;
                    }
                    let Some(instance) = self.instances.get_mut(&serial) else { continue };
                    let took = instance.egress_asked_at.map_or(Duration::ZERO, |asked_at| asked_at.elapsed());
                    let request = instance.bind_request.take();
                    match (request, result) {
                        (Some(_), Ok(())) => {
                            self.control.reply(request, json!({ "networkMs": took.as_secs_f64() * 1e3 }));
                        }
                        (Some(_), Err(error)) => self.control.fail(request, &error),
                        (None, _) => {}
                    }
                }
                Answer::Gone => {
                    self.epoll.remove(pool.fd());
                    self.control
                        .log("error", "The network helper ended: each sandbox makes its own network, egress fails.");
                    self.fail_egress();
                    return;
                }
            }
        }
        self.pool = Some(pool);
    }

    /// Its owner is gone: the next may have it when nothing can reach them that was meant for this one.
    pub(super) fn release_index(&mut self, index: u16) {
        let is_asked = self.pool.as_ref().is_some_and(|pool| pool.ask_forget(index).is_ok());
        if !is_asked {
            self.egress_indexes.rest(index);
        }
    }

    fn fail_egress(&mut self) {
        self.fail_vm_networks();
        for instance in self.instances.values_mut() {
            if let Some(id) = instance.bind_request.take() {
                self.control.fail(Some(id), &egress::missing("there is no helper"));
            }
        }
    }
}
