//! What osqueryd says, of itself and of us: its tables, asked over its extensions socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Document, merge};
use crate::manager::{Manager, ManagerError};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// File name and statement of each question. No flag is asked for that can hold a secret, and no
/// statement of the schedule is copied.
const QUESTIONS: [(&str, &str); 7] = [
    ("health", "SELECT * FROM ebpf_events_health"),
    ("statistics", "SELECT * FROM ebpf_events_statistics"),
    ("info", "SELECT * FROM osquery_info"),
    ("extensions", "SELECT * FROM osquery_extensions"),
    (
        "registry",
        "SELECT * FROM osquery_registry WHERE registry = 'table' AND name LIKE '%events%'",
    ),
    (
        "flags",
        "SELECT name, value, default_value FROM osquery_flags WHERE name LIKE 'extensions%' OR \
         name LIKE 'disable_%' OR name LIKE '%audit%' OR name LIKE 'events_%' OR name LIKE \
         'watchdog_%' OR name LIKE 'schedule_%' OR name IN ('force', 'verbose', 'config_plugin')",
    ),
    (
        "schedule",
        "SELECT name, interval, executions, last_executed, denylisted, output_size, wall_time, \
         user_time, system_time, average_memory FROM osquery_schedule",
    ),
];

/// Asks everything; each answer, or why there is none, by file name.
///
/// # Errors
/// When osqueryd cannot be reached at all.
pub fn answers(socket: &Path) -> Result<BTreeMap<&'static str, Value>, ManagerError> {
    let mut manager = Manager::connect(socket, ANSWER)?;
    manager.ping()?;
    let mut answers = BTreeMap::new();
    for (name, sql) in QUESTIONS {
        let answer = match manager.query(sql) {
            Ok(rows) => json!(rows),
            Err(error) => {
                // After a broken answer nothing that follows could be trusted.
                let said = json!({ "error": error.to_string() });
                if !error.is_refusal() {
                    manager = Manager::connect(socket, ANSWER)?;
                }
                said
            }
        };
        answers.insert(name, answer);
    }
    answers.insert(
        "config",
        match manager.call("config", "", &[("action", "genConfig")]) {
            Ok(rows) => {
                let sources = rows.into_iter().next().unwrap_or_default();
                concerning_us(&merge(&sources))
            }
            Err(error) => json!({ "error": error.to_string() }),
        },
    );
    Ok(answers)
}

/// Of a configuration, what we read of it.
pub fn concerning_us(document: &Document) -> Value {
    let mut kept = serde_json::Map::new();
    for key in [crate::config::SECTION, "file_paths", "exclude_paths", "file_accesses"] {
        if let Some(value) = document.value.get(key) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    let problems: Vec<String> = document.problems.iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        kept.insert("problems".to_owned(), json!(problems));
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests;
