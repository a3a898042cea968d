//! The word by which the reader of a ring says that it sleeps, and how it falls asleep without
//! missing anything.
//!
//! While records come, their reader comes round by itself and nobody is to be woken. Before it sleeps
//! without an end, it sets this word, and who commits a record then wakes it (`wake_reader` in
//! `bpf/common.bpf.h`). Neither asks the other first, so each does its part and looks afterwards:
//!
//! ```text
//! reader                                  program
//! 1. word = 1                             a. reserve: the producers' position moves on
//! 2. full fence                           b. submit: xchg of the record's header, a full fence
//! 3. a ring is filled further than read?  c. word != 0?
//!    yes: reads on; no: sleeps               d. reserves a nudge, so that the ring is not empty
//!                                            e. word = 0
//!                                            f. gives the nudge up and wakes who sleeps on the ring
//! ```
//!
//! - *A record is seen or wakes.* Between the store and the look of either stands a full fence: if 3
//!   missed a, then c does not miss 1. It is the kernel that fences in b, on every machine
//!   (Documentation/atomic_t.txt: an operation that returns a value is fully ordered), so programs
//!   need no atomic of their own, of which those with an order are from 5.12. That is also why the
//!   word is looked at after the submit and not before.
//! - *A record that is reserved and not yet submitted* has moved the position, so 3 finds it, and the
//!   reader does not sleep until it is read. One that is reserved after 3 is submitted after 1.
//! - *No clearing outlives its sleep.* Were e to come after the reader has woken for another reason,
//!   read everything and set the word anew, the word would be 0 in its next sleep. But the reader
//!   sleeps only over an empty ring, and until f the nudge is in it, unfinished.
//! - *Whoever finds the word cleared* by another, who may be preempted before f, leaves it to that
//!   one. More than one may find it set; then a few nudges lie in the ring, and the reader wakes once.
//! - *A nudge that finds no room* is none: the word stays set for the next record, and a ring that is
//!   filled so far has passed the mark at which its reader is woken in any case.
//!
//! Each object has its own ring and word, and one thread reads them all: it sets all of the words, and
//! then looks at all of the rings.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::mm::ProtFlags;

use super::mapping::Mapping;

/// The word, mapped. The map is an array of one entry, which takes up a page.
pub struct Bell {
    mapping: Mapping,
}

impl Bell {
    /// Maps the map behind a descriptor.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn map(fd: &OwnedFd) -> io::Result<Self> {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        Ok(Self { mapping: Mapping::new(fd.as_fd(), 0, rustix::param::page_size(), both)? })
    }

    /// Tells the programs that the reader sleeps, or that it does not. Before it does, a full fence
    /// must follow, and a look at the ring.
    pub fn set(&self, sleeps: bool) {
        self.mapping.first().store(sleeps.into(), Ordering::Relaxed);
    }

    /// Whether the reader sleeps and was not woken yet.
    #[cfg(test)]
    pub fn is_set(&self) -> bool {
        self.mapping.first().load(Ordering::Relaxed) != 0
    }
}
