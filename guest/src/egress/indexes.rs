//! Numbers of sandboxes with a network.

use super::missing;
use crate::error::Error;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

const FIRST_INDEX: u16 = 2;
const LAST_INDEX: u16 = 65_000;
/// Most flows that nobody continues are forgotten by then (UDP 2 minutes); the turn of so many numbers does the rest.
const REST: Duration = Duration::from_secs(600);

/// Each number is an address. Given out in turn, so that one is not soon reused.
#[derive(Default)]
pub struct Indexes {
    used: BTreeSet<u16>,
    /// Not to be given out before then, in the order of time.
    resting: VecDeque<(Instant, u16)>,
    last: u16,
}

impl Indexes {
    pub fn take(&mut self) -> Result<u16, Error> {
        self.wake(Instant::now());
        for _ in FIRST_INDEX..=LAST_INDEX {
            self.last = if self.last >= LAST_INDEX { FIRST_INDEX } else { self.last.max(FIRST_INDEX - 1) + 1 };
            if self.used.insert(self.last) {
                return Ok(self.last);
            }
        }
        Err(missing("all addresses are in use"))
    }

    /// One that is in use since a former launcher.
    pub fn reserve(&mut self, index: u16) {
        self.used.insert(index);
    }

    /// Nothing is left of whoever had it.
    pub fn give_back(&mut self, index: u16) {
        self.used.remove(&index);
    }

    /// Something may be left.
    pub fn rest(&mut self, index: u16) {
        self.resting.push_back((Instant::now() + REST, index));
    }

    fn wake(&mut self, now: Instant) {
        while let Some(&(until, index)) = self.resting.front() {
            if until > now {
                return;
            }
            self.resting.pop_front();
            self.used.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_rests_is_not_given_out_before_its_time() {
        let mut indexes = Indexes::default();
        assert_eq!(indexes.take(), Ok(2));
        indexes.rest(2);
        indexes.last = LAST_INDEX;
        assert_eq!(indexes.take(), Ok(3));
        indexes.last = LAST_INDEX;
        indexes.wake(Instant::now() + REST);
        assert_eq!(indexes.take(), Ok(2));
    }

    #[test]
    fn indexes_go_round_and_are_not_given_twice() {
        let mut indexes = Indexes::default();
        assert_eq!((indexes.take(), indexes.take()), (Ok(2), Ok(3)));
        indexes.reserve(5);
        indexes.give_back(2);
        assert_eq!(indexes.take(), Ok(4));
        indexes.last = LAST_INDEX;
        assert_eq!(indexes.take(), Ok(2));
        assert_eq!(indexes.take(), Ok(6));
    }
}
