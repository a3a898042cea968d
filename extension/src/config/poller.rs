//! Asking osqueryd for its configuration, from a thread of its own.
//!
//! With osqueryd's tls plugin the call goes to the fleet server, so it may take long and must not
//! be made from within a query, nor often.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Document, merge};
use crate::manager::{Manager, ManagerError};

/// What the call may take.
const TIMEOUT: Duration = Duration::from_secs(120);
/// After a failure, before the next attempt: doubled each time, up to the second. osqueryd takes
/// registrations before it has a configuration, so the first refusal is ordinary and short.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Polls while there is an osqueryd. Dropping it ends the thread, unless it is waiting for an answer.
pub struct Poller(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    socket: Option<PathBuf>,
    /// Ask as soon as possible.
    due: bool,
    refresh: Duration,
    stopped: bool,
}

impl Poller {
    /// Starts the thread. `apply` is given each configuration that differs from the last.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        refresh: Duration,
        apply: impl Fn(&Document) + Send + 'static,
    ) -> std::io::Result<Self> {
        let state = State { socket: None, due: false, refresh, stopped: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        std::thread::Builder::new().name("configuration".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, &apply)
        })?;
        Ok(Self(shared))
    }

    /// Ask here from now on, at once first; `None`: nobody is there.
    pub fn set_socket(&self, socket: Option<&Path>) {
        let mut state = self.0.state.lock();
        state.due = socket.is_some();
        state.socket = socket.map(Path::to_owned);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Ask this often from now on.
    pub fn set_refresh(&self, refresh: Duration) {
        self.0.state.lock().refresh = refresh;
        self.0.changed.notify_all();
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.0.state.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

fn run(shared: &Shared, apply: &dyn Fn(&Document)) {
    let mut last = None;
    let mut said = String::new();
    let mut next: Option<Instant> = None;
    let mut retry = RETRY.0;
    loop {
        let socket = {
            let mut state = shared.state.lock();
            loop {
                if state.stopped {
                    return;
                }
                let now = Instant::now();
                match (&state.socket, next) {
                    (Some(socket), _) if state.due => break socket.clone(),
                    (Some(socket), Some(next)) if next <= now => break socket.clone(),
                    (Some(_), Some(next)) => {
                        shared.changed.wait_until(&mut state, next);
                    }
                    _ => shared.changed.wait(&mut state),
                }
            }
        };
        let refresh = {
            let mut state = shared.state.lock();
            state.due = false;
            state.refresh
        };
        match ask(&socket) {
            Ok(document) => {
                said.clear();
                retry = RETRY.0;
                if last.as_ref() != Some(&document) {
                    for problem in &document.problems {
                        log::warn!("{problem}");
                    }
                    apply(&document);
                    last = Some(document);
                }
                next = Some(Instant::now() + refresh);
            }
            Err(error) => {
                let error = error.to_string();
                if retry == RETRY.0 {
                    log::debug!("osqueryd has no configuration yet: {error}");
                } else if said != error {
                    log::warn!(
                        "osqueryd's configuration cannot be had, the last one holds: {error}"
                    );
                    said = error;
                }
                next = Some(Instant::now() + retry.min(refresh));
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

fn ask(socket: &Path) -> Result<Document, ManagerError> {
    let mut manager = Manager::connect(socket, TIMEOUT)?;
    let mut rows = manager.call("config", "", &[("action", "genConfig")])?;
    Ok(rows.pop().map(|sources| merge(&sources)).unwrap_or_default())
}
