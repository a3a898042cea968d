use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::*;
use crate::clock::Clock;

fn id(path: &Path) -> InodeId {
    let found = fs::metadata(path).unwrap();
    (found.dev(), found.ino())
}

fn bytes(path: &Path) -> Bytes {
    path.as_os_str().as_bytes().into()
}

/// Something that is gone, by its name in a directory.
fn located(places: &mut Places, base: &Path, name: &str, parent: Option<InodeId>) -> Option<Bytes> {
    let cwd = bytes(base);
    let base = Base::Cwd(Some(&cwd));
    places.locate(&Sought { pid: 1, name: name.as_bytes(), base, object: None, parent })
}

#[test]
fn what_was_done_in_a_directory_that_is_gone_is_told_where_it_was() {
    let base = std::env::temp_dir().join(format!("places-{}", std::process::id()));
    let directory = base.join("d");
    fs::create_dir_all(directory.join("inner")).unwrap();
    let base = fs::canonicalize(base).unwrap();
    let directory = base.join("d");
    let (outer, inner) = (id(&directory), id(&directory.join("inner")));
    let mut places = Places::new(Clock::new().base());
    // Only the inner one was told of while it was there, by a record of its making.
    places.directory_moved(inner, None, Some(&bytes(&directory.join("inner"))));
    assert_eq!(
        located(&mut places, &base, "d/file", Some(outer)),
        Some(bytes(&directory.join("file")))
    );
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(
        located(&mut places, &base, "d/file", Some(outer)),
        Some(bytes(&directory.join("file")))
    );
    let deep = Some(bytes(&directory.join("inner/file")));
    assert_eq!(located(&mut places, &base, "d/inner/file", Some(inner)), deep);
    places.directory_moved(inner, None, None);
    assert_eq!(located(&mut places, &base, "d/inner/file", Some(inner)), None);
    assert_eq!(located(&mut places, &base, "d/file", None), None);
    fs::remove_dir_all(base).unwrap();
}
