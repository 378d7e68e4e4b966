//! What a sandbox tells the launcher over its status pipe.

use crate::sys;
use std::io;
use std::os::fd::RawFd;

/// Told in records that a pipe writes at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    Failed {
        step: String,
        errno: i32,
    },
    /// The runtime has been exec'd.
    Started {
        network_us: i32,
    },
    Ended(sys::Ended),
}

pub const STATUS_BYTES: usize = 64;

/// Tells over the status pipe which step failed, and ends this process.
pub fn fail(pipe: RawFd, step: &str, error: &io::Error) -> ! {
    let status = Status::Failed { step: step.to_string(), errno: error.raw_os_error().unwrap_or(libc::EIO) };
    let _ = sys::write(pipe, &status.encode());
    sys::exit(127)
}

impl Status {
    pub fn encode(&self) -> [u8; STATUS_BYTES] {
        let mut record = [0u8; STATUS_BYTES];
        let (kind, number, text) = match self {
            Status::Failed { step, errno } => (1, *errno, step.as_str()),
            Status::Started { network_us } => (2, *network_us, ""),
            Status::Ended(sys::Ended::Exited(code)) => (3, *code, ""),
            Status::Ended(sys::Ended::Signalled(signal)) => (4, *signal, ""),
        };
        let length = text.len().min(STATUS_BYTES - 6);
        record[0] = kind;
        record[1] = length as u8;
        record[2..6].copy_from_slice(&number.to_le_bytes());
        record[6..6 + length].copy_from_slice(&text.as_bytes()[..length]);
        record
    }

    pub fn decode(record: &[u8; STATUS_BYTES]) -> Option<Status> {
        let number = i32::from_le_bytes([record[2], record[3], record[4], record[5]]);
        let text = record.get(6..6 + usize::from(record[1]))?;
        match record[0] {
            1 => Some(Status::Failed { step: String::from_utf8_lossy(text).into_owned(), errno: number }),
            2 => Some(Status::Started { network_us: number }),
            3 => Some(Status::Ended(sys::Ended::Exited(number))),
            4 => Some(Status::Ended(sys::Ended::Signalled(number))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_survives_the_pipe() {
        let rows = [
            Status::Failed { step: "mount.proc".to_string(), errno: 1 },
            Status::Started { network_us: 340 },
            Status::Ended(sys::Ended::Exited(3)),
            Status::Ended(sys::Ended::Signalled(9)),
        ];
        for status in rows {
            assert_eq!(Status::decode(&status.encode()), Some(status));
        }
        assert_eq!(Status::decode(&[0; STATUS_BYTES]), None);
        let long = Status::Failed { step: "x".repeat(100), errno: 5 };
        let Some(Status::Failed { step, errno: 5 }) = Status::decode(&long.encode()) else { panic!("lost") };
        assert_eq!(step.len(), 58);
    }
}
