//! On whose behalf osqueryd asks for rows.
//!
//! osqueryd's scheduler writes the query's name under `executing_query`, and the time it began
//! under `timestamp.NAME`, before it runs a query, and empties the former afterwards
//! (osquery/config/config.cpp, `recordQueryStart`). Its own event tables tell callers apart the
//! same way. The time has whole seconds only, and a scheduler that catches up may run a query
//! twice in one; the query's result counter, which moves whenever rows were logged, keeps those
//! executions apart.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use osquery_ebpf_tables::scan::Caller;
use parking_lot::Mutex;

use crate::manager::{Manager, ManagerError};
use crate::once::Once;

/// What a call may take. Measured: 0.2 to 0.4 ms.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Connections kept for the next scan: as many as scans run at a time.
const POOL: usize = crate::plugin::GENERATES;

/// Tells who asks. Called once per scan of an event table.
pub trait CallerSource: Send + Sync {
    /// Who is asking now.
    fn caller(&self) -> Caller;
}

/// Asks osqueryd.
#[derive(Default)]
pub struct ManagerCaller {
    state: Mutex<State>,
    failures: AtomicU64,
    said: Once,
}

#[derive(Default)]
struct State {
    path: Option<PathBuf>,
    pool: Vec<Manager>,
}

impl ManagerCaller {
    /// From now on ask at this socket; `None`: nobody is there to be asked.
    pub fn set_socket(&self, path: Option<PathBuf>) {
        *self.state.lock() = State { path, pool: Vec::new() };
    }

    /// Scans for which nobody could be asked. They were treated as ad hoc: rows may be logged
    /// twice, none is lost.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn ask(&self) -> Result<Caller, ManagerError> {
        let (path, pooled) = {
            let mut state = self.state.lock();
            let Some(path) = state.path.clone() else { return Ok(Caller::AdHoc) };
            (path, state.pool.pop())
        };
        // A pooled connection may have been closed by the other end meanwhile: then ask anew.
        if let Some(mut manager) = pooled
            && let Ok(caller) = identify(&mut manager)
        {
            self.keep(&path, manager);
            return Ok(caller);
        }
        let mut manager = Manager::connect(&path, TIMEOUT)?;
        let caller = identify(&mut manager)?;
        self.keep(&path, manager);
        Ok(caller)
    }

    fn keep(&self, path: &PathBuf, manager: Manager) {
        let mut state = self.state.lock();
        if state.path.as_ref() == Some(path) && state.pool.len() < POOL {
            state.pool.push(manager);
        }
    }
}

fn identify(manager: &mut Manager) -> Result<Caller, ManagerError> {
    let name = manager.database("configurations", "executing_query")?.unwrap_or_default();
    if name.is_empty() {
        return Ok(Caller::AdHoc);
    }
    let time = manager.database("configurations", &format!("timestamp.{name}"))?;
    let counter = manager.database("queries", &format!("{name}counter"))?;
    let execution = format!("{}.{}", time.unwrap_or_default(), counter.unwrap_or_default());
    Ok(Caller::Scheduled { name, execution })
}

impl CallerSource for ManagerCaller {
    fn caller(&self) -> Caller {
        self.ask().unwrap_or_else(|error| {
            self.failures.fetch_add(1, Ordering::Relaxed);
            if self.said.first("caller") {
                log::warn!(
                    "cannot tell which query asks, so rows may be logged twice: {error} (said once)"
                );
            }
            Caller::AdHoc
        })
    }
}
