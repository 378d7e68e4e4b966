//! Freezing and thawing. The kernel freezes in its own time, so a freeze is answered when it is done, overtaken or late; whatever
//! comes first answers it, and takes it out.

use super::Launcher;
use crate::error::Error;
use crate::instance::Freezing;
use serde_json::{json, Value};
use std::time::{Duration, Instant};

const FREEZE_MS_MAX: u64 = 2_000;

impl Launcher {
    pub(super) fn freeze(&mut self, id: u64, name: &str) -> Result<Option<Value>, Error> {
        let instance = self.find(name)?;
        instance.group.set_frozen(true)?;
        for _ in 0..20 {
            if instance.group.is_frozen() {
                return Ok(Some(json!({})));
            }
            std::thread::yield_now();
        }
        match &mut instance.freezing {
            Some(freezing) => freezing.requests.push(id),
            None => {
                let deadline = Instant::now() + Duration::from_millis(FREEZE_MS_MAX);
                instance.freezing = Some(Freezing { requests: vec![id], deadline });
            }
        }
        Ok(None)
    }

    pub(super) fn thaw(&mut self, name: &str) -> Result<Option<Value>, Error> {
        let instance = self.find(name)?;
        let thawed = instance.group.set_frozen(false);
        let overtaken = instance.take_freezes();
        let error = Error::Overtaken { instance: name.to_string() };
        overtaken.into_iter().for_each(|id| self.control.fail(Some(id), &error));
        thawed.map(|()| Some(json!({})))
    }

    pub(super) fn finish_freezes(&mut self) {
        let now = Instant::now();
        for instance in self.instances.values_mut() {
            let Some(deadline) = instance.freezing.as_ref().map(|freezing| freezing.deadline) else { continue };
            if instance.group.is_frozen() {
                instance.take_freezes().into_iter().for_each(|id| self.control.reply(Some(id), json!({})));
            } else if now >= deadline {
                let _ = instance.group.set_frozen(false);
                let action = format!("freeze instance \"{}\"", instance.id);
                let error = Error::Timeout { step: "freezer", action, ms: FREEZE_MS_MAX };
                instance.take_freezes().into_iter().for_each(|id| self.control.fail(Some(id), &error));
            }
        }
    }
}
