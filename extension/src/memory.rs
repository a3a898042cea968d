//! How the C library's heap is used.
//!
//! It would give each thread that allocates a heap of its own, and what one thread frees in another's
//! stays resident there: events are made by the threads of the sources and freed by whoever evicts
//! them. Measured with 50,000 events held of each kind: 23 MiB less resident with one heap, and
//! neither stores nor queries slower.

/// To be called before the first thread is started.
pub fn use_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes numbers only, and no other thread allocates meanwhile.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } == 0 {
        log::debug!("the C library does not let its heaps be limited");
    }
}

/// Returns free memory to the kernel. Loading programs needs the types of the whole kernel for a
/// moment, which are some ten MiB.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number; safe in any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
