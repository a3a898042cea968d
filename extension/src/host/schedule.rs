//! The scheduler (osquery/dispatcher/scheduler.cpp, osquery/config/config.cpp).
//!
//! A query's name stands under `executing_query` while it runs, and the second it began under
//! `timestamp.NAME`; extensions know by these on whose behalf they are asked. Rows of event-based
//! tables are logged as they come; others are compared with the last execution.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::database::{CONFIGURATIONS, QUERIES};
use super::results::{Item, line};
use super::{Shared, SqlError, unix_time};
use crate::stop::Stop;

/// One query of the schedule.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// Its name.
    pub name: String,
    /// Its SQL.
    pub query: String,
    /// Seconds between executions.
    pub interval: u64,
    /// Log every row each time, without comparing.
    pub snapshot: bool,
    /// Log rows that went, too.
    pub removed: bool,
    /// How often it has run.
    pub executions: Arc<AtomicU64>,
}

impl Scheduled {
    /// A query that runs every `interval` seconds.
    pub fn new(name: impl Into<String>, query: impl Into<String>, interval: u64) -> Self {
        Self {
            name: name.into(),
            query: query.into(),
            interval: interval.max(1),
            snapshot: false,
            removed: true,
            executions: Arc::default(),
        }
    }
}

/// What is wrong with a schedule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The section itself.
    #[error("schedule: an object of queries by name is expected")]
    NotAnObject,
    /// One query.
    #[error("schedule: {name}: {expected} is expected")]
    Query {
        /// Its name.
        name: String,
        /// What belongs there.
        expected: &'static str,
    },
}

/// Reads the section `schedule` of an osquery configuration.
///
/// # Errors
/// [`ScheduleError`] names the query.
pub fn parse(config: &Value) -> Result<Vec<Scheduled>, ScheduleError> {
    let queries = match config.get("schedule") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(queries)) => queries,
        Some(_) => return Err(ScheduleError::NotAnObject),
    };
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    queries
        .iter()
        .map(|(name, entry)| {
            let wrong = |expected| ScheduleError::Query { name: name.clone(), expected };
            let query = entry.get("query").and_then(Value::as_str);
            let query = query.ok_or_else(|| wrong("a text \"query\""))?;
            let interval = entry.get("interval").and_then(number).filter(|interval| *interval > 0);
            let interval = interval.ok_or_else(|| wrong("an \"interval\" of seconds above 0"))?;
            let flag =
                |key: &str, otherwise| entry.get(key).and_then(Value::as_bool).unwrap_or(otherwise);
            Ok(Scheduled {
                snapshot: flag("snapshot", false),
                removed: flag("removed", true),
                ..Scheduled::new(name, query, interval)
            })
        })
        .collect()
}

/// Runs the host's schedule until it is stopped.
pub(super) fn run(shared: &Shared, stop: &Stop, mut out: Box<dyn Write + Send>) {
    const STEP: Duration = Duration::from_secs(1);
    let mut second = unix_time();
    while !stop.requested() {
        let began = Instant::now();
        let mut queries = shared.schedule.lock().clone();
        queries.retain(|query| second.is_multiple_of(query.interval));
        for query in queries {
            match execute(shared, &query) {
                Ok(lines) => {
                    let written = lines
                        .iter()
                        .try_for_each(|line| writeln!(out, "{line}"))
                        .and_then(|()| out.flush());
                    if let Err(error) = written {
                        log::error!("Error logging the results of query: {}: {error}", query.name);
                        return;
                    }
                }
                Err(error) => {
                    log::error!("Error executing scheduled query {}: {error}", query.name);
                }
            }
        }
        second += 1;
        if let Some(rest) = STEP.checked_sub(began.elapsed())
            && stop.wait(rest)
        {
            return;
        }
    }
}

/// Runs one query as the scheduler does and returns its result lines.
pub(super) fn execute(shared: &Shared, query: &Scheduled) -> Result<Vec<String>, SqlError> {
    let database = &shared.database;
    let time = unix_time();
    database.put(CONFIGURATIONS, "executing_query", &query.name);
    database.put(CONFIGURATIONS, &format!("timestamp.{}", query.name), &time.to_string());
    let mut rows = Vec::new();
    let mut event_based = false;
    let result = shared.query(&query.query, &mut |answer| {
        event_based |= answer.event_based;
        rows.extend(answer.into_maps());
    });
    database.put(CONFIGURATIONS, "executing_query", "");
    query.executions.fetch_add(1, Ordering::Relaxed);
    result?;

    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let item = |counter| Item { name: &query.name, host: &host, time, counter };
    if query.snapshot {
        return Ok(rows.iter().map(|row| line(&item(0), "snapshot", row)).collect());
    }
    let counter_key = format!("{}counter", query.name);
    let known = database.get(QUERIES, &query.name).is_some();
    if !known {
        database.put(QUERIES, &query.name, "[]");
    }
    let last = database.get(QUERIES, &counter_key).and_then(|text| text.parse::<u64>().ok());
    // A first result that is complete counts as 0; events are never complete (`getQueryCounter`).
    let next = match (known, event_based) {
        (false, true) => 1,
        (false, false) => 0,
        (true, _) => last.map_or(0, |last| last + 1),
    };
    let (added, removed) = if event_based {
        (rows, Vec::new())
    } else {
        let difference = shared.memory.lock().update(&query.name, rows);
        let removed = if query.removed { difference.removed } else { Vec::new() };
        (difference.added, removed)
    };
    if added.is_empty() && removed.is_empty() {
        return Ok(Vec::new());
    }
    database.put(QUERIES, &counter_key, &next.to_string());
    let item = item(next);
    let lines = removed.iter().map(|row| line(&item, "removed", row));
    Ok(lines.chain(added.iter().map(|row| line(&item, "added", row))).collect())
}
