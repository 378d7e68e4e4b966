//! `vm_share`: sockets in a VM's jail that the platform waits for.

use super::Launcher;
use crate::error::Error;
use serde_json::{json, Value};
use std::time::{Duration, Instant};

/// A VMM makes its sockets in the first milliseconds of its life, on a crowded machine in its first seconds. Who asks has a time of its own and ends the
/// VM after it; this bound is for one that has none.
const SHARE_MS_MAX: u64 = 60_000;

/// A socket in a jail that the platform waits for.
pub struct Share {
    id: u64,
    serial: u32,
    instance: String,
    name: String,
    deadline: Instant,
}

impl Launcher {
    /// Answered when the VMM has made the socket.
    pub(super) fn share_socket(&mut self, id: u64, instance: String, name: String) -> Result<Option<Value>, Error> {
        let serial = self.serials.get(&instance).copied().unwrap_or(0);
        if !self.vms.running.contains_key(&serial) {
            return Err(Error::UnknownInstance { instance });
        }
        let deadline = Instant::now() + Duration::from_millis(SHARE_MS_MAX);
        self.vms.shares.push(Share { id, serial, instance, name, deadline });
        Ok(None)
    }

    pub(super) fn finish_shares(&mut self) {
        let now = Instant::now();
        for share in std::mem::take(&mut self.vms.shares) {
            let Share { id, serial, instance, name, deadline } = &share;
            let shared = match self.vms.running.get(serial) {
                Some(vm) => vm.share(&self.host, name),
                None => Err(Error::UnknownInstance { instance: instance.clone() }),
            };
            match shared {
                Ok(true) => self.control.reply(Some(*id), json!({})),
                Ok(false) if now < *deadline => self.vms.shares.push(share),
                Ok(false) => {
                    let action = format!("share \"{name}\" of VM \"{instance}\"");
                    self.control.fail(Some(*id), &Error::Timeout { step: "share", action, ms: SHARE_MS_MAX });
                }
                Err(error) => self.control.fail(Some(*id), &error),
            }
        }
    }
}
