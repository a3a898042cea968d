//! osquery's configuration as a whole: several sources, merged as osqueryd merges them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::section::Problem;

/// Merged configuration, and what of it could not be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// The merged object.
    pub value: Value,
    /// Sources that were left out.
    pub problems: Vec<Problem>,
}

/// Merges the sources that `genConfig` gives, by name. Objects of the same key are joined; of
/// other values the last source's holds.
pub fn merge(sources: &BTreeMap<String, String>) -> Document {
    let mut merged = Map::new();
    let mut problems = Vec::new();
    for (name, text) in sources {
        match serde_json::from_str(&without_comments(text)) {
            Ok(Value::Object(object)) => join(&mut merged, object),
            Ok(_) => problems
                .push(Problem { key: name.clone(), what: "an object is expected".to_owned() }),
            // An empty source is what a plugin without anything to say gives.
            Err(_) if text.trim().is_empty() => {}
            Err(error) => {
                problems.push(Problem { key: name.clone(), what: error.to_string() });
            }
        }
    }
    Document { value: Value::Object(merged), problems }
}

fn join(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(held)), Value::Object(more)) => join(held, more),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Lines that begin with `#` or `//` are comments (`stripConfigComments` in osquery).
fn without_comments(text: &str) -> String {
    text.replace("\\\n", "")
        .lines()
        .filter(|line| {
            let line = line.trim_start();
            !line.starts_with('#') && !line.starts_with("//")
        })
        .fold(String::with_capacity(text.len()), |mut kept, line| {
            kept.push_str(line);
            kept.push('\n');
            kept
        })
}
