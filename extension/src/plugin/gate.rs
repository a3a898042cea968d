//! Letting few through at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Admits a bounded number at once, and lets a bounded number wait a bounded time.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    left: Condvar,
    inside: usize,
    waiting: usize,
    turn: Duration,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    waiting: usize,
}

/// Being inside; dropping it lets the next one in.
#[derive(Debug)]
pub struct Pass(Arc<Inner>);

impl Gate {
    /// `inside` at a time, `waiting` in the queue, each for `turn` at most.
    pub fn new(inside: usize, waiting: usize, turn: Duration) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Inner { state, left: Condvar::new(), inside, waiting, turn }))
    }

    /// Goes in, waiting if need be. `None`: the queue is full, or the wait was too long.
    pub fn enter(&self) -> Option<Pass> {
        let inner = &self.0;
        let mut state = inner.state.lock();
        if state.inside >= inner.inside {
            if state.waiting >= inner.waiting {
                return None;
            }
            let until = Instant::now() + inner.turn;
            state.waiting += 1;
            while state.inside >= inner.inside {
                if inner.left.wait_until(&mut state, until).timed_out() {
                    break;
                }
            }
            state.waiting -= 1;
            if state.inside >= inner.inside {
                return None;
            }
        }
        state.inside += 1;
        Some(Pass(Arc::clone(inner)))
    }
}

#[cfg(test)]
impl Gate {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.state.lock().waiting
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.state.lock().inside -= 1;
        self.0.left.notify_one();
    }
}
