//! Hashes of files, computed when a query names them.
//!
//! Owns the check that the file hashed is the file the event was about: a query comes later than
//! the event, and the name may lead elsewhere by then. What cannot be shown to be the same content
//! is not hashed. Results are kept by (device, inode, size, mtime, ctime).

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use md5::Md5;
use osquery_ebpf_probes::event::FileObject;
use parking_lot::Mutex;
use sha1::Sha1;
use sha2::{Digest, Sha256};

#[cfg(test)]
mod tests;

/// Results kept.
pub const MAX_RESULTS: usize = 4096;

/// Bytes read for one scan. Beyond it files are reported as not hashed.
pub const SCAN_BYTES: u64 = 256 << 20;

const BUFFER: usize = 64 << 10;

/// Which hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Algorithms {
    pub md5: bool,
    pub sha1: bool,
    pub sha256: bool,
}

/// Hashes of one file's content, those that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digests {
    pub md5: Option<Box<str>>,
    pub sha1: Option<Box<str>>,
    pub sha256: Option<Box<str>>,
}

impl Digests {
    fn covers(&self, wanted: Algorithms) -> bool {
        (!wanted.md5 || self.md5.is_some())
            && (!wanted.sha1 || self.sha1.is_some())
            && (!wanted.sha256 || self.sha256.is_some())
    }
}

/// What came of it; the numbers are those of osquery's `hashed` column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hashed {
    /// 1.
    Yes(Digests),
    /// 0: too large, no regular file, or the scan's budget was used up.
    Not,
    /// -1: it is gone, unreadable, or no longer what the event was about.
    Failed,
}

/// The file an event was about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Where to look for it, in order.
    pub paths: &'a [PathBuf],
    /// What the event said of it.
    pub object: FileObject,
    /// When the event was, Unix seconds.
    pub time: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Version {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            mtime: (found.mtime(), found.mtime_nsec()),
            ctime: (found.ctime(), found.ctime_nsec()),
        }
    }
}

#[derive(Debug, Default)]
struct Results {
    by_version: HashMap<Version, Digests, RandomState>,
    order: VecDeque<Version>,
}

/// Results of earlier scans, and the largest file to hash.
#[derive(Debug)]
pub struct HashCache {
    results: Mutex<Results>,
    max_file: AtomicU64,
}

impl HashCache {
    /// Nothing hashed yet.
    pub fn new(max_file: u64) -> Self {
        Self { results: Mutex::default(), max_file: AtomicU64::new(max_file) }
    }

    /// Changes the largest file to hash.
    pub fn set_max_file(&self, bytes: u64) {
        self.max_file.store(bytes, Ordering::Relaxed);
    }
}

/// Computes hashes for one scan.
#[derive(Debug)]
pub struct Hasher {
    cache: Arc<HashCache>,
    wanted: Algorithms,
    left: AtomicU64,
    /// Files found in this scan: of many rows on one executable, only the first opens it.
    found: Mutex<HashMap<(PathBuf, Identity), Digests, RandomState>>,
}

/// What tells contents apart in events.
type Identity = (Option<u64>, Option<u64>, Option<u64>, Option<i64>, Option<i64>);

impl Hasher {
    /// For a scan that names these hashes.
    pub fn new(cache: Arc<HashCache>, wanted: Algorithms) -> Self {
        let left = AtomicU64::new(SCAN_BYTES);
        Self { cache, wanted, left, found: Mutex::default() }
    }

    /// Hashes a file.
    pub fn hash(&self, subject: &Subject<'_>) -> Hashed {
        let FileObject { device, inode, size, mtime, ctime, .. } = subject.object;
        // With less than this, the time of the event decides, which is not part of the key.
        let complete = inode.is_some() && mtime.is_some();
        let key = subject.paths.first().filter(|_| complete).cloned();
        let key = key.map(|path| (path, (device, inode, size, mtime, ctime)));
        if let Some(known) = key.as_ref().and_then(|key| self.found.lock().get(key).cloned()) {
            return Hashed::Yes(known);
        }
        let hashed = self.find(subject);
        if let (Some(key), Hashed::Yes(digests)) = (key, &hashed) {
            self.found.lock().insert(key, digests.clone());
        }
        hashed
    }

    fn find(&self, subject: &Subject<'_>) -> Hashed {
        for path in subject.paths {
            let Some((file, found)) = open(path) else { continue };
            if !is_same(&found, subject) {
                continue;
            }
            return self.content(file, &found);
        }
        Hashed::Failed
    }

    fn content(&self, file: File, found: &Metadata) -> Hashed {
        if !found.is_file() {
            return Hashed::Not;
        }
        let version = Version::of(found);
        if let Some(known) = self.cache.results.lock().by_version.get(&version)
            && known.covers(self.wanted)
        {
            return Hashed::Yes(known.clone());
        }
        if found.size() > self.cache.max_file.load(Ordering::Relaxed) || !self.spend(found.size()) {
            return Hashed::Not;
        }
        match digest(file, found.size(), self.wanted) {
            Some((digests, after)) if Version::of(&after) == version => {
                self.keep(version, digests.clone());
                Hashed::Yes(digests)
            }
            _ => Hashed::Failed,
        }
    }

    fn spend(&self, bytes: u64) -> bool {
        let spend = |left: u64| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }

    fn keep(&self, version: Version, digests: Digests) {
        let mut results = self.cache.results.lock();
        if let Some(known) = results.by_version.get_mut(&version) {
            known.md5 = digests.md5.or_else(|| known.md5.take());
            known.sha1 = digests.sha1.or_else(|| known.sha1.take());
            known.sha256 = digests.sha256.or_else(|| known.sha256.take());
            return;
        }
        if results.order.len() >= MAX_RESULTS
            && let Some(oldest) = results.order.pop_front()
        {
            results.by_version.remove(&oldest);
        }
        results.order.push_back(version);
        results.by_version.insert(version, digests);
    }
}

fn open(path: &Path) -> Option<(File, Metadata)> {
    // Neither a fifo nor a device may hold us up, and access times are not ours to change.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let mut options = OpenOptions::new();
    options.read(true);
    let file = options.clone().custom_flags(flags | libc::O_NOATIME).open(path);
    let file = file.or_else(|_| options.custom_flags(flags).open(path)).ok()?;
    let found = file.metadata().ok()?;
    Some((file, found))
}

/// Whether a file that was found is the one the event was about, its content unchanged since.
fn is_same(found: &Metadata, subject: &Subject<'_>) -> bool {
    let FileObject { device, inode, size, mtime, ctime, .. } = subject.object;
    if inode.is_some_and(|inode| inode != found.ino()) {
        return false;
    }
    let content = match (mtime, size) {
        (Some(mtime), Some(size)) => mtime == found.mtime() && size == found.size(),
        (Some(mtime), None) => mtime == found.mtime(),
        _ => found.mtime() <= subject.time,
    };
    // On btrfs the kernel's device is not stat's: then everything else must agree.
    let device = device.is_none_or(|device| device == found.dev())
        || (inode.is_some() && size.is_some() && mtime.is_some() && ctime == Some(found.ctime()));
    content && device
}

fn digest(mut file: File, size: u64, wanted: Algorithms) -> Option<(Digests, Metadata)> {
    let mut md5 = wanted.md5.then(Md5::new);
    let mut sha1 = wanted.sha1.then(Sha1::new);
    let mut sha256 = wanted.sha256.then(Sha256::new);
    let mut buffer = vec![0; BUFFER];
    let mut total: u64 = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        total = total.saturating_add(count as u64);
        if total > size {
            return None;
        }
        let bytes = buffer.get(..count)?;
        if let Some(hash) = &mut md5 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut sha1 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut sha256 {
            hash.update(bytes);
        }
    }
    let after = file.metadata().ok()?;
    let digests = Digests {
        md5: md5.map(|hash| hex(&hash.finalize())),
        sha1: sha1.map(|hash| hex(&hash.finalize())),
        sha256: sha256.map(|hash| hex(&hash.finalize())),
    };
    Some((digests, after))
}

fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// Where the executable of a process can be found: by its path, by its path in the process's own
/// root, and as what the process runs.
pub fn executable_paths(pid: u32, path: &[u8]) -> Vec<PathBuf> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let process = PathBuf::from(format!("/proc/{pid}"));
    let inside = path.strip_prefix("/").unwrap_or(path);
    vec![path.to_path_buf(), process.join("root").join(inside), process.join("exe")]
}
