//! Bytes on a unix socket: deadlines, bounds and who is at the other end.
//!
//! Thrift's own transport blocks for ever and its binary protocol allocates whatever length a peer
//! claims. Both ends of ours use [`Stream`] and [`Input`] instead; output is Thrift's.

mod input;
mod peer;
mod stream;

pub use input::Input;
pub use peer::{PeerError, check_peer};
pub use stream::{Deadline, Stream, connect};

use std::io::BufWriter;

use thrift::protocol::TBinaryOutputProtocol;

/// Where messages are written. Nothing is sent before it is flushed or 64 KiB are full.
pub type Output = TBinaryOutputProtocol<BufWriter<Stream>>;

/// Bytes kept before they are sent.
const WRITE_BUFFER: usize = 64 << 10;

/// A protocol writer over a stream.
pub fn output(stream: Stream) -> Output {
    TBinaryOutputProtocol::new(BufWriter::with_capacity(WRITE_BUFFER, stream), true)
}

#[cfg(test)]
mod tests;
