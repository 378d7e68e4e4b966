//! Runs scenarios one after the other, each with its verdict and what it took.

use std::time::Instant;

pub struct Checks {
    /// What the names of those to run contain.
    filter: String,
    failed: Vec<String>,
}

impl Checks {
    pub fn new(filter: &str) -> Checks {
        Checks { filter: filter.to_string(), failed: Vec::new() }
    }

    pub fn run(&mut self, name: &str, check: &dyn Fn() -> bool) {
        if !name.contains(&self.filter) {
            return;
        }
        let started = Instant::now();
        let is_ok = check();
        println!("{:>6}  {name} ({} ms)", if is_ok { "ok" } else { "FAILED" }, started.elapsed().as_millis());
        if !is_ok {
            self.failed.push(name.to_string());
        }
    }

    /// Panics when any failed.
    pub fn finish(self) {
        assert!(self.failed.is_empty(), "failed: {:?}", self.failed);
    }
}
