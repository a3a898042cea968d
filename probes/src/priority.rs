//! Who reads events goes before what makes them: a ring, a queue or a socket's buffer that is read late
//! is lost.

use rustix::process::{getpriority_process, setpriority_process};

/// Of threads that read: auditd's default (`priority_boost = 4`). Not relative to what we were started
/// with: osqueryd's watcher lowers itself, and so what it starts, to 10, where 80 of 100 socket events of
/// a busy machine were lost.
const READERS: i32 = -4;

/// Of threads that readers may have to wait for, since they share locks and the allocator's with them:
/// what everybody has. Lower, whoever holds a lock may stand still for as long as a ring lasts.
const OTHERS: i32 = 0;

/// Has the calling thread read events before others make more. Without the right to, it reads as it is.
pub(crate) fn reader() {
    raise(READERS);
}

/// Puts the calling thread, and those it makes from now on, no lower than what everybody has.
pub fn no_lower_than_others() {
    raise(OTHERS);
}

fn raise(nice: i32) {
    // Both are of the thread in Linux, whatever the functions' names say.
    if getpriority_process(None).is_ok_and(|now| now <= nice) {
        return;
    }
    if let Err(errno) = setpriority_process(None, nice) {
        log::debug!("the priority stays what we were started with: {errno}");
    }
}
