//! Which files are watched: osquery's `file_paths`, `exclude_paths` and `file_accesses`.
//!
//! Owns the meaning of these maps, taken from osquery's inotify publisher and path sets
//! (osquery/events/linux/inotify.cpp, osquery/events/pathset.h) and its documentation (wiki,
//! file-integrity-monitoring). Where the two differ, by which more is reported:
//! - A pattern that ends without a wildcard names a file, or a directory whose entries are watched
//!   one level deep; with a `/` at its end too.
//! - `%` at the end matches the entries of a directory, `%%` everything below it; what follows a
//!   `%%` is ignored.
//! - The part before the first wildcard is taken both as written and with symbolic links resolved,
//!   as the kernel reports resolved paths (`/bin/%sh` is `/usr/bin/%sh` today).
//! - Exclusions of all categories hold for all categories. One is compared with the path and with
//!   its directory. There `%%` also matches nothing, a `%` at the end also matches deeper levels,
//!   and a `%` within a name is not a wildcard.

use std::path::{Path, PathBuf};

use osquery_ebpf_probes::source::{PathFilter, Root};
use serde_json::Value;

use crate::glob::{Pattern, levels};

#[cfg(test)]
mod tests;

/// The maps, as configured: category, patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchConfig {
    /// What is watched.
    pub file_paths: Vec<(String, Vec<String>)>,
    /// What is not.
    pub exclude_paths: Vec<(String, Vec<String>)>,
    /// The categories whose opens and reads are reported too.
    pub file_accesses: Vec<String>,
}

impl WatchConfig {
    /// Reads them from osquery's configuration: from its top level and from the packs that are
    /// written out in it. What is not of the right type is ignored, as osquery does.
    pub fn from_json(config: &Value) -> Self {
        let mut read = Self::default();
        read.add(config);
        let packs = config.get("packs").and_then(Value::as_object);
        for pack in packs.into_iter().flat_map(serde_json::Map::values) {
            read.add(pack);
        }
        read
    }

    fn add(&mut self, source: &Value) {
        add_map(&mut self.file_paths, source.get("file_paths"));
        add_map(&mut self.exclude_paths, source.get("exclude_paths"));
        let accesses = source.get("file_accesses").and_then(Value::as_array);
        self.file_accesses
            .extend(accesses.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
}

fn add_map(into: &mut Vec<(String, Vec<String>)>, map: Option<&Value>) {
    for (category, paths) in map.and_then(Value::as_object).into_iter().flatten() {
        let Some(paths) = paths.as_array() else { continue };
        let paths = paths.iter().filter_map(Value::as_str).filter(|path| !path.is_empty());
        let paths: Vec<String> = paths.map(str::to_owned).collect();
        match into.iter_mut().find(|(name, _)| name == category) {
            Some((_, held)) => held.extend(paths),
            None => into.push((category.clone(), paths)),
        }
    }
}

/// The maps, ready for matching.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    categories: Vec<Category>,
    excluded: Vec<Exclusion>,
    ignored: Vec<String>,
}

#[derive(Debug, Clone)]
struct Category {
    name: String,
    patterns: Vec<Pattern>,
    accesses: bool,
}

impl Watch {
    /// Compiles the maps. `resolve` gives the path with its symbolic links resolved, if it exists.
    pub fn new(config: &WatchConfig, resolve: impl Fn(&Path) -> Option<PathBuf>) -> Self {
        let mut watch = Self::default();
        for (name, paths) in &config.file_paths {
            let mut patterns = Vec::new();
            for path in paths {
                let Some(pattern) = Pattern::parse(path) else {
                    watch.ignored.push(path.clone());
                    continue;
                };
                let pattern = pattern.recursive_at_end();
                let resolved = resolved(&pattern, &resolve);
                for pattern in std::iter::once(pattern).chain(resolved) {
                    if pattern.ends_literal() {
                        patterns.push(pattern.clone().children());
                    }
                    patterns.push(pattern);
                }
            }
            let accesses = config.file_accesses.contains(name);
            watch.categories.push(Category { name: name.clone(), patterns, accesses });
        }
        for path in config.exclude_paths.iter().flat_map(|(_, paths)| paths) {
            match Exclusion::parse(path) {
                Some(exclusion) => watch.excluded.push(exclusion),
                None => watch.ignored.push(path.clone()),
            }
            let Some(pattern) = Pattern::parse(path) else { continue };
            let (literal, _) = pattern.root();
            if let Some(target) = resolve(to_path(&literal))
                && let Some(tail) = path.get(literal.len()..)
                && target != to_path(&literal)
                && let Some(exclusion) =
                    target.to_str().and_then(|target| Exclusion::parse(&format!("{target}{tail}")))
            {
                watch.excluded.push(exclusion);
            }
        }
        watch
    }

    /// Compiles the maps for this host.
    pub fn of_host(config: &WatchConfig) -> Self {
        Self::new(config, |path| std::fs::canonicalize(path).ok())
    }

    /// The category a path is watched under: of several the first.
    pub fn category(&self, path: &[u8]) -> Option<&str> {
        self.find(path).map(|category| category.name.as_str())
    }

    /// The category under which opens and reads of a path are wanted.
    pub fn access_category(&self, path: &[u8]) -> Option<&str> {
        self.find(path).filter(|category| category.accesses).map(|category| category.name.as_str())
    }

    fn find(&self, path: &[u8]) -> Option<&Category> {
        let matching =
            |category: &&Category| category.patterns.iter().any(|pattern| pattern.matches(path));
        self.categories.iter().find(matching).filter(|_| !self.excludes(path))
    }

    fn excludes(&self, path: &[u8]) -> bool {
        let directory = path.iter().rposition(|&byte| byte == b'/').and_then(|at| path.get(..at));
        self.excluded.iter().any(|exclusion| {
            exclusion.matches(path) || directory.is_some_and(|above| exclusion.matches(above))
        })
    }

    /// Whether some category wants opens and reads.
    pub fn wants_accesses(&self) -> bool {
        self.categories.iter().any(|category| category.accesses)
    }

    /// Patterns that are not absolute and so match nothing.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }
}

fn to_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn resolved(pattern: &Pattern, resolve: &impl Fn(&Path) -> Option<PathBuf>) -> Option<Pattern> {
    use std::os::unix::ffi::OsStrExt as _;
    let (root, _) = pattern.root();
    let target = resolve(to_path(&root))?;
    let rebased = pattern.rebased(target.as_os_str().as_bytes());
    (rebased != *pattern).then_some(rebased)
}

impl PathFilter for Watch {
    fn matches(&self, path: &[u8]) -> bool {
        self.find(path).is_some()
    }

    fn roots(&self) -> Vec<Root> {
        let mut roots: Vec<Root> = Vec::new();
        for pattern in self.categories.iter().flat_map(|category| &category.patterns) {
            let (path, depth) = pattern.root();
            let path = to_path(&path).to_path_buf();
            match roots.iter_mut().find(|root| root.path == path) {
                Some(root) => {
                    root.depth = root.depth.zip(depth).map(|(held, new)| held.max(new));
                }
                None => roots.push(Root { path, depth }),
            }
        }
        roots.sort_by(|a, b| a.path.cmp(&b.path));
        roots
    }
}

/// One entry of `exclude_paths`.
#[derive(Debug, Clone)]
struct Exclusion {
    names: Vec<Name>,
    /// `%%` ends it: whatever follows.
    recursive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Is(Box<[u8]>),
    Any,
}

impl Exclusion {
    fn parse(path: &str) -> Option<Self> {
        if !path.starts_with('/') {
            return None;
        }
        let mut exclusion = Self { names: Vec::new(), recursive: false };
        for name in levels(path.as_bytes()) {
            match name {
                b"%%" | b"**" => {
                    exclusion.recursive = true;
                    break;
                }
                b"%" | b"*" => exclusion.names.push(Name::Any),
                name => exclusion.names.push(Name::Is(name.into())),
            }
        }
        exclusion.recursive |= exclusion.names.last() == Some(&Name::Any);
        Some(exclusion)
    }

    fn matches(&self, path: &[u8]) -> bool {
        let mut names = levels(path);
        for expected in &self.names {
            let Some(name) = names.next() else { return false };
            if *expected != Name::Any && *expected != Name::Is(name.into()) {
                return false;
            }
        }
        self.recursive || names.next().is_none()
    }
}
