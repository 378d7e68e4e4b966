//! Serves the verbs of docs/reference/launcher-protocol.md: one thread, one epoll loop. Nothing in it waits: a start is told by
//! the sandbox's status pipe, an end by its pidfd, network work is done by the helper.

mod ends;
mod freezer;
mod networks;
mod survivors;
mod verbs;
mod vm_ends;
mod vm_networks;
mod vm_shares;
mod vms;

use crate::cgroup::Cgroups;
use crate::control::Control;
use crate::egress;
use crate::host::Host;
use crate::instance::Instance;
use crate::netns::Pool;
use crate::probe;
use crate::publish::ReadyFiles;
use crate::reread::ReadableFiles;
use crate::sys::{self, Ended, Epoll, Pid};
use crate::vm::VmOptions;
use ends::Removal;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};
use vms::Vms;

/// Grace of the platform's process when its socket closed, and of sandboxes at the end.
const END_MS_MAX: u64 = 5_000;
/// When a platform that closed its socket and lives on is told to end.
const REMIND_MS: u64 = 500;

/* Tokens of epoll: the kind in the low byte, an instance's serial above. */
const CONTROL: u64 = 0;
const SIGNALS: u64 = 1;
const NETWORKS: u64 = 2;
const PIDFD: u64 = 3;
const STATUS: u64 = 4;
const VM_PIDFD: u64 = 5;
const VM_STATUS: u64 = 6;
const VM_STDERR: u64 = 7;
/// Above it is the pidfd of the helper that copies a template.
const COPY: u64 = 8;

fn token(kind: u64, serial: u32) -> u64 {
    u64::from(serial) << 8 | kind
}

pub struct Launcher {
    pub host: Host,
    pub cgroups: Cgroups,
    pub control: Control,
    pub platform: Pid,
    pub signals: OwnedFd,
    pub ready_files: ReadyFiles,
    pub readable_files: ReadableFiles,
    pool: Option<Pool>,
    epoll: Epoll,
    instances: HashMap<u32, Instance>,
    serials: HashMap<String, u32>,
    last_serial: u32,
    removals: Vec<Removal>,
    egress_indexes: egress::Indexes,
    probe: Option<probe::Probe>,
    vms: Vms,
    /// Somebody told the platform to end.
    is_end_asked: bool,
    platform_exit: Option<Ended>,
}

pub struct Parts {
    pub host: Host,
    pub cgroups: Cgroups,
    pub control: OwnedFd,
    pub platform: Pid,
    pub signals: OwnedFd,
    pub ready_files: ReadyFiles,
    pub readable_files: ReadableFiles,
    pub id: String,
    pub vms: VmOptions,
}

impl Launcher {
    pub fn new(parts: Parts) -> io::Result<Launcher> {
        let epoll = Epoll::new()?;
        let control = Control::new(parts.control)?;
        let pool = if parts.host.has_namespaces {
            Some(Pool::start(&parts.id, !parts.vms.programs.is_empty())?)
        } else {
            None
        };
        epoll.add(control.fd(), CONTROL, libc::EPOLLIN)?;
        epoll.add(parts.signals.as_raw_fd(), SIGNALS, libc::EPOLLIN)?;
        if let Some(pool) = &pool {
            epoll.add(pool.fd(), NETWORKS, libc::EPOLLIN)?;
        }
        let mut former = parts.vms.former;
        let survivors = std::mem::take(&mut former.survivors);
        if let Some(pool) = pool.as_ref().filter(|_| former.is_unfinished) {
            pool.take_over();
        }
        let vms = VmOptions { former, ..parts.vms };
        let mut launcher = Launcher {
            host: parts.host,
            cgroups: parts.cgroups,
            control,
            platform: parts.platform,
            signals: parts.signals,
            ready_files: parts.ready_files,
            readable_files: parts.readable_files,
            pool,
            epoll,
            instances: HashMap::new(),
            serials: HashMap::new(),
            last_serial: 0,
            removals: Vec::new(),
            egress_indexes: egress::Indexes::default(),
            probe: None,
            vms: Vms::new(vms),
            is_end_asked: false,
            platform_exit: None,
        };
        launcher.take_over(survivors);
        Ok(launcher)
    }

    /// Serves until the platform ends or closes its socket; then ends every sandbox. Returns the exit status to take over.
    pub fn serve(&mut self) -> io::Result<i32> {
        while self.platform_exit.is_none() && !self.control.is_closed {
            self.turn()?;
        }
        self.end_all()?;
        Ok(self.platform_exit.map_or(128 + libc::SIGKILL, Ended::status))
    }

    fn turn(&mut self) -> io::Result<()> {
        let is_polling = !self.removals.is_empty()
            || self.vms.is_polling()
            || self.instances.values().any(|instance| instance.freezing.is_some());
        let timeout_ms = if is_polling { 1 } else { self.vms.sweep_timeout_ms() };
        for (token, events) in self.epoll.wait(timeout_ms)? {
            let serial = (token >> 8) as u32;
            match token & 0xff {
                CONTROL => self.talk(events),
                SIGNALS => self.take_signals(),
                NETWORKS => self.take_networks(),
                STATUS => self.take_status(serial),
                PIDFD => self.take_end(serial),
                VM_STATUS => self.take_vm_status(serial),
                VM_STDERR => self.take_vm_stderr(serial),
                COPY => self.take_copy(serial as i32),
                _ => self.take_vm_end(serial),
            }
        }
        self.finish_freezes();
        self.finish_removals();
        self.finish_vm_removals();
        self.finish_shares();
        self.sweep_in_time();
        self.control.send();
        let events = libc::EPOLLIN | if self.control.has_unsent() { libc::EPOLLOUT } else { 0 };
        self.epoll.modify(self.control.fd(), CONTROL, events)?;
        if let Some(pool) = &mut self.pool {
            pool.refill();
        }
        Ok(())
    }

    fn take_signals(&mut self) {
        while let Some(info) = sys::next_signal(self.signals.as_raw_fd()) {
            let signal = info.ssi_signo as i32;
            // A terminal's Ctrl-C has gone to the whole foreground group, so the platform has it already.
            const SI_KERNEL: i32 = 0x80;
            self.is_end_asked |= signal != libc::SIGCHLD;
            if signal != libc::SIGCHLD && info.ssi_code != SI_KERNEL {
                let _ = sys::kill(self.platform, signal);
            }
        }
        if self.platform_exit.is_none() {
            if let Ok(Some((_, ended))) = sys::reap(self.platform) {
                self.platform_exit = Some(ended);
            }
        }
    }

    fn end_all(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let deadline = now + Duration::from_millis(END_MS_MAX);
        // A socket closes a moment before its process has ended.
        let mut remind_at = Some(now + Duration::from_millis(REMIND_MS));
        self.control.is_closed = true;
        self.epoll.remove(self.control.fd());
        self.instances.values_mut().for_each(Instance::kill);
        self.vms.kill_starting();
        while Instant::now() < deadline {
            // Whether VMs are to live on is known when it is known how the platform ended.
            if self.platform_exit.is_some() && !self.are_vms_kept() {
                self.vms.kill_all();
            }
            let has_vms = !self.are_vms_kept() && !self.vms.is_empty();
            let is_empty = self.instances.is_empty() && self.removals.is_empty() && !has_vms;
            let is_done = is_empty && self.platform_exit.is_some();
            if is_done {
                break;
            }
            if self.platform_exit.is_none() && remind_at.is_some_and(|at| Instant::now() >= at) {
                remind_at = None;
                let _ = sys::kill(self.platform, libc::SIGTERM);
            }
            for (token, _) in self.epoll.wait(5)? {
                match token & 0xff {
                    SIGNALS => self.take_signals(),
                    PIDFD => self.take_end((token >> 8) as u32),
                    NETWORKS => self.take_networks(),
                    VM_PIDFD => self.take_vm_end((token >> 8) as u32),
                    _ => {}
                }
            }
            self.finish_removals();
            self.finish_vm_removals();
        }
        if self.platform_exit.is_none() {
            let _ = sys::kill(self.platform, libc::SIGKILL);
            self.platform_exit = sys::wait(self.platform).ok();
        }
        if self.are_vms_kept() {
            self.leave_vms();
        } else {
            self.end_vms();
        }
        Ok(())
    }
}
