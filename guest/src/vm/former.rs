//! What a former launcher left: VMs that still live, to be adopted or swept, and the traces of those that do not.

use super::record::{Record, Records};
use super::{reaper, remove_leftovers};
use crate::error::Error;
use std::fs;
use std::os::fd::OwnedFd;

pub struct Former {
    /// None: no VM can be started here.
    pub records: Option<Records>,
    pub survivors: Vec<(Record, OwnedFd)>,
    /// There was one, and it did not end in order.
    pub is_unfinished: bool,
}

impl Former {
    /// Ends the reaper that a former launcher left, and clears away what is dead.
    pub fn find(state: &str, is_root: bool, has_programs: bool) -> Result<Former, Error> {
        let is_there = fs::symlink_metadata(format!("{state}/vms")).is_ok();
        if !is_root || !(is_there || has_programs) {
            return Ok(Former { records: None, survivors: Vec::new(), is_unfinished: false });
        }
        let records = Records::open(state)?;
        let had_reaper = reaper::end_former(&records);
        let mut survivors = Vec::new();
        let found = records.read();
        let is_unfinished = had_reaper || !found.is_empty();
        for record in found {
            match record.process.find() {
                Some(pidfd) => survivors.push((record, pidfd)),
                None => {
                    remove_leftovers(state, &record);
                    records.remove(&record.instance);
                }
            }
        }
        Ok(Former { records: Some(records), survivors, is_unfinished })
    }

    pub fn names(&self) -> Vec<String> {
        self.survivors.iter().map(|(record, _)| record.instance.clone()).collect()
    }
}
