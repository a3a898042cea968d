//! A source's thread and how it is spoken to while it waits for the kernel.
//!
//! Owns waking and answering; what the thread does is the source's.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use crate::priority;
use crate::source::{SourceConfig, StartError};

/// What the thread is told.
pub enum Order {
    /// Give everything that happened before now to the sink, then answer.
    Flush(Sender<bool>),
    /// Work by this from now on.
    Reconfigure(Box<SourceConfig>, Sender<Result<(), StartError>>),
    /// End.
    Stop,
}

/// The thread's end.
pub struct Orders {
    shared: Arc<Shared>,
}

/// The caller's end.
pub struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    orders: Mutex<VecDeque<Order>>,
    wake: OwnedFd,
}

impl Orders {
    /// The next order, if there is one.
    pub fn next(&self) -> Option<Order> {
        let order = self.shared.orders.lock().pop_front();
        if order.is_none() {
            let mut count = [0; 8];
            // Nothing to read is as good: it only stops the wake-ups.
            let _ = rustix::io::read(&self.shared.wake, &mut count);
        }
        // One may have come between looking and reading.
        order.or_else(|| self.shared.orders.lock().pop_front())
    }
}

impl AsFd for Orders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }
}

impl Worker {
    /// Starts a thread that runs `work` until it is told to stop.
    ///
    /// # Errors
    /// No event descriptor or no thread is to be had.
    pub fn start(name: &str, work: impl FnOnce(Orders) + Send + 'static) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { orders: Mutex::default(), wake });
        let orders = Orders { shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(|| {
            priority::reader();
            work(orders);
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks for everything that happened before now, for `deadline` at most.
    pub fn flush(&self, deadline: Duration) -> bool {
        let (answer, answered) = channel();
        self.order(Order::Flush(answer));
        answered.recv_timeout(deadline).unwrap_or(false)
    }

    /// Hands over a new configuration. `None`: the thread has ended.
    pub fn reconfigure(&self, config: &SourceConfig) -> Option<Result<(), StartError>> {
        let (answer, answered) = channel();
        self.order(Order::Reconfigure(Box::new(config.clone()), answer));
        answered.recv_timeout(RECONFIGURE_TIME).ok()
    }

    /// Ends the thread and waits for it.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.order(Order::Stop);
            if thread.join().is_err() {
                log::error!("a source's thread ended by a panic");
            }
        }
    }

    fn order(&self, order: Order) {
        self.shared.orders.lock().push_back(order);
        // The counter cannot overflow by ones.
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
    }
}

/// How long taking over a configuration may take: rules are added one by one.
const RECONFIGURE_TIME: Duration = Duration::from_secs(10);

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}
