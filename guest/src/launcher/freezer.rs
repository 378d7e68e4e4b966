//! Freezing and thawing. The kernel freezes in its own time, so a freeze is answered when it is done, overtaken or late.

use super::Launcher;
use crate::error::Error;
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
        instance.freezing = Some((id, Instant::now() + Duration::from_millis(FREEZE_MS_MAX)));
        Ok(None)
    }

    pub(super) fn finish_freezes(&mut self) {
        let now = Instant::now();
        for instance in self.instances.values_mut() {
            let Some((id, deadline)) = instance.freezing else { continue };
            if instance.group.is_frozen() {
                self.control.reply(Some(id), json!({}));
            } else if now >= deadline {
                let _ = instance.group.set_frozen(false);
                let action = format!("freeze instance \"{}\"", instance.id);
                self.control.fail(Some(id), &Error::Timeout { step: "freezer", action, ms: FREEZE_MS_MAX });
            } else {
                continue;
            }
            instance.freezing = None;
        }
    }
}
