//! From where a directory is within its file system to the paths this host sees it by.
//!
//! A file system can be mounted at several places, whole or in part: what is `/home/x` to everybody
//! may be `/data/home/x` to the kernel, and `/` itself may be a part of `/sysroot`. A path is
//! visible if the walk along it ends on the mount it was made with; what another mount covers is
//! not. Pure: mounts and a path in, paths out.

use super::mounts::{Mounts, Point};
use super::path;
use super::watch::{Verdict, Watch};

#[cfg(test)]
mod tests;

/// How a directory is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The paths of the directory, those that have to do with the watch first.
    pub dirs: Vec<Vec<u8>>,
    /// Names in it that are mounted elsewhere by themselves, and where.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the directory has to do with the watch, by any of these.
    pub verdict: Verdict,
}

impl View {
    /// Of a directory that is `internal` within its file system, which is mounted at `points`.
    pub fn new(mounts: &Mounts, points: &[Point], watch: &Watch, internal: &[u8]) -> Self {
        let visible =
            |point: &Point, host: &[u8]| mounts.at(host).is_some_and(|mount| mount.id == point.id);
        let (mut wanted, mut others, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for point in points {
            if let Some(rest) = path::below(internal, &point.root) {
                let host = path::join_rest(&point.path, rest);
                if !visible(point, &host) {
                    continue;
                }
                match watch.verdict(&host) {
                    Verdict::Maybe => wanted.push(host),
                    Verdict::Never => others.push(host),
                }
            } else if let Some(name) = path::below(&point.root, internal)
                && !name.contains(&b'/')
                && watch.verdict(path::parent(&point.path)) == Verdict::Maybe
                && visible(point, &point.path)
            {
                entries.push((name.to_vec(), point.path.clone()));
            }
        }
        let verdict =
            if wanted.is_empty() && entries.is_empty() { Verdict::Never } else { Verdict::Maybe };
        wanted.append(&mut others);
        Self { dirs: wanted, entries, verdict }
    }

    /// The paths of a name in the directory; of `.`, those of the directory itself.
    pub fn paths(&self, name: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let by_dirs = self.dirs.iter().map(move |dir| path::join(dir, name));
        let mounted = self.entries.iter().filter(move |(entry, _)| entry == name);
        by_dirs.chain(mounted.map(|(_, path)| path.clone()))
    }
}
