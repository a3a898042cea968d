//! What is left out, ready for matching.

use std::net::IpAddr;

use osquery_ebpf_probes::event::EventKind;

use crate::glob::Pattern;
use crate::options::{Network, OptionError, Options};

#[cfg(test)]
mod tests;

/// Options in the form events are held against.
#[derive(Debug, Clone)]
pub struct Selection {
    kinds: [bool; EventKind::ALL.len()],
    paths: Vec<Pattern>,
    processes: Vec<Pattern>,
    uids: Vec<u32>,
    addresses: Vec<Network>,
    env: Vec<EnvName>,
}

#[derive(Debug, Clone)]
enum EnvName {
    Is(String),
    StartsWith(String),
}

impl Selection {
    /// Compiles the options.
    ///
    /// # Errors
    /// [`OptionError`] names the first option that cannot be.
    pub fn new(options: &Options) -> Result<Self, OptionError> {
        let compile = |patterns: &[String]| -> Result<Vec<Pattern>, OptionError> {
            let parse = |text: &String| {
                Pattern::parse(text).ok_or_else(|| OptionError::RelativePattern(text.clone()))
            };
            patterns.iter().map(parse).collect()
        };
        let mut kinds = [false; EventKind::ALL.len()];
        for (kind, selected) in EventKind::ALL.iter().zip(&mut kinds) {
            *selected = match kind {
                EventKind::Exit | EventKind::Socket | EventKind::File => true,
                kind => options.process_events.contains(kind),
            };
        }
        for kind in &options.process_events {
            if matches!(kind, EventKind::Exit | EventKind::Socket | EventKind::File) {
                return Err(OptionError::ProcessEvents(kind.as_str()));
            }
        }
        let env = |name: &String| match name.strip_suffix('*') {
            Some(prefix) => EnvName::StartsWith(prefix.to_owned()),
            None => EnvName::Is(name.clone()),
        };
        Ok(Self {
            kinds,
            paths: compile(&options.exclude.paths)?,
            processes: compile(&options.exclude.processes)?,
            uids: options.exclude.uids.clone(),
            addresses: options.exclude.addresses.clone(),
            env: options.env.iter().map(env).collect(),
        })
    }

    /// Whether events of a kind get rows.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.kinds.get(kind.index()).copied().unwrap_or(false)
    }

    /// Whether the executed or changed file is left out.
    pub fn excludes_path(&self, path: Option<&[u8]>) -> bool {
        path.is_some_and(|path| self.paths.iter().any(|pattern| pattern.matches(path)))
    }

    /// Whether everything this executable does is left out.
    pub fn excludes_process(&self, path: Option<&[u8]>) -> bool {
        path.is_some_and(|path| self.processes.iter().any(|pattern| pattern.matches(path)))
    }

    /// Whether everything this user does is left out.
    pub fn excludes_uid(&self, uid: Option<u32>) -> bool {
        uid.is_some_and(|uid| self.uids.contains(&uid))
    }

    /// Whether traffic with this address is left out.
    pub fn excludes_address(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.addresses.iter().any(|net| net.contains(address)))
    }

    /// Appends the variables of a NUL-separated environment that are to be kept, each with its NUL.
    pub fn keep_env(&self, env: &[u8], kept: &mut Vec<u8>) {
        for variable in crate::text::strings(env) {
            let name = variable.split(|&byte| byte == b'=').next().unwrap_or(variable);
            let keeps = |wanted: &EnvName| match wanted {
                EnvName::Is(wanted) => wanted.as_bytes() == name,
                EnvName::StartsWith(prefix) => name.starts_with(prefix.as_bytes()),
            };
            if self.env.iter().any(keeps) {
                kept.extend_from_slice(variable);
                kept.push(0);
            }
        }
    }
}
