//! Events that were read and are yet to be handled, as the kernel wrote them.
//!
//! The kernel's queue holds 16384 events by default and says only that it overflowed, not by how
//! much. So it is emptied into this one first, which is bounded in bytes and counts what it has no
//! room for, and events are handled from here.

use std::collections::VecDeque;

#[cfg(test)]
mod tests;

/// Events read at one moment.
#[derive(Debug, Default)]
pub struct Chunk {
    /// When, `CLOCK_BOOTTIME` ns.
    pub time_ns: u64,
    /// The sequence number of each, in order.
    pub sequences: Vec<u64>,
    /// Their bytes, one after the other.
    pub bytes: Vec<u8>,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    chunks: VecDeque<Chunk>,
    held: usize,
    bound: usize,
    sequence: u64,
}

impl Queue {
    /// Holds at most `bound` bytes of events.
    pub fn new(bound: usize) -> Self {
        Self { chunks: VecDeque::new(), held: 0, bound, sequence: 0 }
    }

    /// Begins a chunk: events pushed from now on were read at this time.
    pub fn begin(&mut self, time_ns: u64) {
        match self.chunks.back_mut() {
            Some(last) if last.bytes.is_empty() => last.time_ns = time_ns,
            _ => self.chunks.push_back(Chunk { time_ns, ..Chunk::default() }),
        }
    }

    /// Appends an event, and gives its sequence number. `None`: there is no room.
    pub fn push(&mut self, event: &[u8]) -> Option<u64> {
        if self.held.saturating_add(event.len()) > self.bound {
            return None;
        }
        let chunk = self.chunks.back_mut()?;
        self.held += event.len();
        self.sequence += 1;
        chunk.bytes.extend_from_slice(event);
        chunk.sequences.push(self.sequence);
        Some(self.sequence)
    }

    /// Takes the oldest chunk.
    pub fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.held -= chunk.bytes.len();
        Some(chunk)
    }

    /// Chunks to be taken.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Whether there is nothing to be handled.
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.bytes.is_empty())
    }
}
