//! The two channels of a sandbox: from the platform's listening sockets to the runtime and to the supervisor.

use crate::error::{Context, Error};
use crate::host::Host;
use crate::request::Spawn;
use crate::sys;
use std::os::fd::{AsRawFd, OwnedFd};

/// The two channels of a sandbox, connected.
pub struct Channels {
    pub runtime: OwnedFd,
    pub supervisor: OwnedFd,
}

impl Channels {
    /// Connects to the platform's listening sockets; a listener of another user is refused, whatever path leads to it.
    pub fn connect(host: &Host, request: &Spawn) -> Result<Channels, Error> {
        let connect = |path: &str| {
            let target = sys::openat(libc::AT_FDCWD, path, libc::O_PATH, 0);
            let socket = target.and_then(|target| sys::connect_unix(target.as_raw_fd()));
            let socket = socket.at("channel", || format!("connect to \"{path}\""))?;
            let uid = sys::peer_uid(socket.as_raw_fd()).at("channel", || format!("ask who listens on \"{path}\""))?;
            if uid != host.platform_uid {
                return Err(Error::Peer { path: path.to_string(), uid, wanted: host.platform_uid });
            }
            Ok(socket)
        };
        let runtime = connect(&request.channel)?;
        // A runtime may read it plainly; the supervisor makes its own non-blocking again.
        sys::set_blocking(runtime.as_raw_fd()).at("channel", || "make the channel blocking".to_string())?;
        Ok(Channels { runtime, supervisor: connect(&request.supervisor)? })
    }
}
