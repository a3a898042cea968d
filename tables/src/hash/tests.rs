use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

const ALL: Algorithms = Algorithms { md5: true, sha1: true, sha256: true };
const ONE: Algorithms = Algorithms { md5: false, sha1: false, sha256: true };

fn subject(found: &Metadata) -> FileObject {
    FileObject {
        device: Some(found.dev()),
        inode: Some(found.ino()),
        size: Some(found.size()),
        mtime: Some(found.mtime()),
        ctime: Some(found.ctime()),
        ..FileObject::default()
    }
}

struct Place {
    directory: tempfile::TempDir,
    cache: Arc<HashCache>,
}

impl Place {
    fn new(max_file: u64) -> Self {
        let cache = Arc::new(HashCache::new(max_file));
        Self { directory: tempfile::tempdir().unwrap(), cache }
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn hash(&self, path: &Path, object: FileObject, time: i64, wanted: Algorithms) -> Hashed {
        let paths = [path.to_path_buf()];
        Hasher::new(Arc::clone(&self.cache), wanted).hash(&Subject { paths: &paths, object, time })
    }
}

#[test]
fn only_the_hashes_asked_for_are_computed_and_others_are_added_later() {
    let place = Place::new(1 << 20);
    let path = place.write("file", b"content");
    let object = subject(&path.metadata().unwrap());
    let Hashed::Yes(first) = place.hash(&path, object, 0, ONE) else { panic!() };
    assert_eq!((first.md5, first.sha1), (None, None));
    assert!(first.sha256.is_some());
    let Hashed::Yes(second) = place.hash(&path, object, 0, ALL) else { panic!() };
    // printf content | md5sum
    assert_eq!(second.md5.as_deref(), Some("9a0364b9e99bb480dd25e1f0284c8555"));
    assert_eq!(place.cache.results.lock().order.len(), 1);
}

#[test]
fn a_result_is_kept_and_the_file_not_read_again() {
    let place = Place::new(1 << 20);
    let path = place.write("file", b"content");
    let found = path.metadata().unwrap();
    let known = Digests { sha256: Some("kept".into()), ..Digests::default() };
    let hasher = Hasher::new(Arc::clone(&place.cache), ONE);
    hasher.keep(Version::of(&found), known.clone());
    assert_eq!(place.hash(&path, subject(&found), 0, ONE), Hashed::Yes(known));
}

#[test]
fn another_file_or_other_content_is_not_hashed() {
    let place = Place::new(1 << 20);
    let path = place.write("file", b"content");
    let found = path.metadata().unwrap();
    let object = subject(&found);
    let failed = |object| assert_eq!(place.hash(&path, object, 0, ONE), Hashed::Failed);
    failed(FileObject { inode: Some(found.ino() + 1), ..object });
    failed(FileObject { size: Some(1), ..object });
    failed(FileObject { mtime: Some(found.mtime() - 1), ..object });
    // Another device and no further proof.
    failed(FileObject { device: Some(found.dev() + 1), ctime: None, ..object });
    // btrfs: the kernel's device is not stat's, but all else agrees.
    let btrfs = FileObject { device: Some(found.dev() + 1), ..object };
    assert!(matches!(place.hash(&path, btrfs, 0, ONE), Hashed::Yes(_)));
    // With nothing but a time, content that is younger than the event is not what it left.
    let nothing = FileObject::default();
    assert_eq!(place.hash(&path, nothing, found.mtime() - 1, ONE), Hashed::Failed);
    assert!(matches!(place.hash(&path, nothing, found.mtime(), ONE), Hashed::Yes(_)));
}

#[test]
fn large_files_devices_and_directories_are_not_hashed() {
    let place = Place::new(4);
    let path = place.write("file", b"content");
    let object = subject(&path.metadata().unwrap());
    assert_eq!(place.hash(&path, object, 0, ONE), Hashed::Not);
    place.cache.set_max_file(7);
    assert!(matches!(place.hash(&path, object, 0, ONE), Hashed::Yes(_)));
    let directory = place.directory.path();
    let object = subject(&directory.metadata().unwrap());
    assert_eq!(place.hash(directory, object, 0, ONE), Hashed::Not);
    let null = Path::new("/dev/null");
    assert_eq!(place.hash(null, subject(&null.metadata().unwrap()), 0, ONE), Hashed::Not);
    assert_eq!(place.hash(Path::new("/nowhere"), object, 0, ONE), Hashed::Failed);
}

#[test]
fn a_fifo_does_not_hold_a_scan_up() {
    let place = Place::new(1 << 20);
    let path = place.directory.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let object = subject(&path.metadata().unwrap());
    assert_eq!(place.hash(&path, object, 0, ONE), Hashed::Not);
}

#[test]
fn a_scan_reads_no_more_than_its_budget() {
    let place = Place::new(u64::MAX);
    let small = place.write("small", b"content");
    let large = place.write("large", b"");
    std::fs::File::options().write(true).open(&large).unwrap().set_len(SCAN_BYTES).unwrap();
    std::fs::set_permissions(&large, std::fs::Permissions::from_mode(0o600)).unwrap();
    let hasher = Hasher::new(Arc::clone(&place.cache), ONE);
    let hash = |path: &PathBuf| {
        let object = subject(&path.metadata().unwrap());
        hasher.hash(&Subject { paths: std::slice::from_ref(path), object, time: 0 })
    };
    assert!(matches!(hash(&small), Hashed::Yes(_)));
    assert_eq!(hash(&large), Hashed::Not);
    // What is known costs nothing.
    assert!(matches!(hash(&small), Hashed::Yes(_)));
}

#[test]
fn results_are_bounded() {
    let place = Place::new(1 << 20);
    let path = place.write("file", b"content");
    let version = Version::of(&path.metadata().unwrap());
    let hasher = Hasher::new(Arc::clone(&place.cache), ONE);
    for inode in 0..MAX_RESULTS as u64 + 10 {
        hasher.keep(Version { inode, ..version }, Digests::default());
    }
    let results = place.cache.results.lock();
    assert_eq!((results.order.len(), results.by_version.len()), (MAX_RESULTS, MAX_RESULTS));
    assert!(!results.by_version.contains_key(&Version { inode: 9, ..version }));
}

#[test]
fn an_executable_without_a_path_is_found_as_what_the_process_runs() {
    let own = std::process::id();
    let running = std::fs::metadata("/proc/self/exe").unwrap();
    let cache = Arc::new(HashCache::new(u64::MAX));
    let paths = executable_paths(own, b"/memfd:gone");
    let object = subject(&running);
    let hashed = Hasher::new(cache, ONE).hash(&Subject { paths: &paths, object, time: 0 });
    assert!(matches!(hashed, Hashed::Yes(_)));
}
