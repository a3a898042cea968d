//! Who is at the other end of a unix socket.

use std::os::unix::net::UnixStream;

use rustix::net::sockopt::socket_peercred;

/// Why a peer is not talked to.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It runs under another user.
    #[error("the peer (pid {pid}) runs as uid {uid}; only root and uid {own} are talked to")]
    Stranger {
        /// Its process.
        pid: i32,
        /// Its user.
        uid: u32,
        /// Ours.
        own: u32,
    },
    /// The kernel does not say who it is.
    #[error("SO_PEERCRED: {0}")]
    Unknown(#[from] rustix::io::Errno),
}

/// Accepts root and our own user, nobody else.
///
/// # Errors
/// [`PeerError`] says who it was.
pub fn check_peer(stream: &UnixStream) -> Result<(), PeerError> {
    let peer = socket_peercred(stream)?;
    let own = rustix::process::geteuid();
    if peer.uid.is_root() || peer.uid == own {
        return Ok(());
    }
    Err(PeerError::Stranger {
        pid: peer.pid.as_raw_nonzero().get(),
        uid: peer.uid.as_raw(),
        own: own.as_raw(),
    })
}
