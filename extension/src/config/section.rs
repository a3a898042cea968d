//! The section `ebpf_events` of osquery's configuration.
//!
//! Its keys are the flags' names; `_` and `-` are the same in them. Values are read by the same
//! functions as the flags', from a text, a number, a boolean or a list of these.

use std::fmt;

use clap::ValueEnum;
use serde_json::Value;

use super::settings::Settings;
use super::value::{
    Expected, age, concern, count, memory, network, pattern, period, process_event, ring, uid,
    variable, yes,
};
use super::{SourceChoice, TierChoice, settings::Ipv6};

/// The section's name.
pub const SECTION: &str = "ebpf_events";
/// Letters of a wrong value that are repeated in its report.
const SHOWN: usize = 60;

/// Something in the configuration that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub key: String,
    /// What is wrong, and what is expected.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration, {}: {}", self.key, self.what)
    }
}

type Set = fn(&mut Settings, &[String]) -> Result<(), Expected>;

fn one<T>(
    into: &mut Option<T>,
    given: &[String],
    parse: fn(&str) -> Result<T, Expected>,
) -> Result<(), Expected> {
    let [text] = given else {
        // The parser can say what is expected; it certainly is not several values.
        return Err(parse("").err().unwrap_or(Expected("a single value")));
    };
    *into = Some(parse(text)?);
    Ok(())
}

fn list<T>(
    into: &mut Option<Vec<T>>,
    given: &[String],
    parse: fn(&str) -> Result<T, Expected>,
) -> Result<(), Expected> {
    *into = Some(given.iter().map(|text| parse(text)).collect::<Result<_, _>>()?);
    Ok(())
}

fn source(text: &str) -> Result<SourceChoice, Expected> {
    SourceChoice::from_str(text, false).map_err(|_| Expected("auto, bpf, audit, connector or off"))
}

fn tier(text: &str) -> Result<TierChoice, Expected> {
    TierChoice::from_str(text, false).map_err(|_| Expected("auto, 1 or 2"))
}

fn ipv6(text: &str) -> Result<Ipv6, Expected> {
    Ipv6::from_str(text, false).map_err(|_| Expected("rfc5952 or core"))
}

/// Every key, with what it sets.
const KEYS: &[(&str, Set)] = &[
    ("source", |to, given| one(&mut to.source, given, source)),
    ("tier", |to, given| one(&mut to.tier, given, tier)),
    ("ignore-kernel-quirks", |to, given| one(&mut to.ignore_kernel_quirks, given, yes)),
    ("collect", |to, given| list(&mut to.collect, given, concern)),
    ("process-events", |to, given| list(&mut to.process_events, given, process_event)),
    ("unix-sockets", |to, given| one(&mut to.unix_sockets, given, yes)),
    ("datagram-peers", |to, given| one(&mut to.datagram_peers, given, yes)),
    ("file-access", |to, given| one(&mut to.file_access, given, yes)),
    ("env-allow", |to, given| list(&mut to.env_allow, given, variable)),
    ("ipv6-format", |to, given| one(&mut to.ipv6_format, given, ipv6)),
    ("hashes", |to, given| one(&mut to.hashes, given, yes)),
    ("exclude-files", |to, given| list(&mut to.exclude_files, given, pattern)),
    ("exclude-processes", |to, given| list(&mut to.exclude_processes, given, pattern)),
    ("exclude-uids", |to, given| list(&mut to.exclude_uids, given, uid)),
    ("exclude-addresses", |to, given| list(&mut to.exclude_addresses, given, network)),
    ("max-events", |to, given| one(&mut to.max_events, given, count)),
    ("max-bytes", |to, given| one(&mut to.max_bytes, given, memory)),
    ("max-age", |to, given| one(&mut to.max_age, given, period)),
    ("ring-process", |to, given| one(&mut to.ring_process, given, ring)),
    ("ring-socket", |to, given| one(&mut to.ring_socket, given, ring)),
    ("ring-file", |to, given| one(&mut to.ring_file, given, ring)),
    ("grace", |to, given| one(&mut to.grace, given, age)),
    ("refresh", |to, given| one(&mut to.refresh, given, period)),
];

/// Reads the section out of a whole configuration.
pub fn read(config: &Value) -> (Settings, Vec<Problem>) {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    match config.get(SECTION) {
        None | Some(Value::Null) => {}
        Some(Value::Object(section)) => {
            for (key, value) in section {
                if let Err(what) = set(&mut settings, key, value) {
                    problems.push(Problem { key: format!("{SECTION}.{key}"), what });
                }
            }
        }
        Some(other) => problems.push(Problem {
            key: SECTION.to_owned(),
            what: format!("{}: an object of settings is expected", shown(other)),
        }),
    }
    (settings, problems)
}

fn set(settings: &mut Settings, key: &str, value: &Value) -> Result<(), String> {
    let word = key.replace('_', "-");
    let Some((_, apply)) = KEYS.iter().find(|(name, _)| *name == word) else {
        let known: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no such setting; there are {}", known.join(", ")));
    };
    if value.is_null() {
        return Ok(());
    }
    let given = texts(value).ok_or_else(|| {
        format!("{}: a text, a number, true or false, or a list is expected", shown(value))
    })?;
    apply(settings, &given).map_err(|expected| format!("{}: {expected}", shown(value)))
}

/// The value as texts. A text with commas is a list, as in the flag.
fn texts(value: &Value) -> Option<Vec<String>> {
    Some(match value {
        Value::String(text) if text.contains(',') => {
            text.split(',').map(|part| part.trim().to_owned()).collect()
        }
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Bool(yes) => vec![yes.to_string()],
        Value::Array(values) => values
            .iter()
            .map(|value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
            .collect::<Option<_>>()?,
        Value::Null | Value::Object(_) => return None,
    })
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
