use super::*;

const A: InodeId = (1, 10);
const B: InodeId = (1, 11);
const C: InodeId = (1, 12);

fn path(text: &str) -> Bytes {
    text.as_bytes().into()
}

fn known(directories: &Directories) -> [Option<&str>; 3] {
    [A, B, C].map(|id| directories.path(id).map(|path| std::str::from_utf8(path).unwrap()))
}

/// `/a` with `/a/b` in it, and `/ab` beside.
fn three() -> Directories {
    let mut directories = Directories::default();
    directories.see(A, &path("/a"));
    directories.see(B, &path("/a/b"));
    directories.see(C, &path("/ab"));
    directories
}

#[test]
fn what_is_below_moves_with_a_directory_and_what_only_sounds_like_it_does_not() {
    let mut directories = three();
    directories.moved(A, Some(&path("/a")), Some(&path("/x")));
    assert_eq!(known(&directories), [Some("/x"), Some("/x/b"), Some("/ab")]);
    // From where is known even if the record does not tell.
    directories.moved(A, None, Some(&path("/y")));
    assert_eq!(known(&directories), [Some("/y"), Some("/y/b"), Some("/ab")]);
}

#[test]
fn what_went_where_nobody_knows_is_forgotten_with_all_below_it() {
    let mut directories = three();
    directories.moved(A, Some(&path("/a")), None);
    assert_eq!(known(&directories), [None, None, Some("/ab")]);
}

#[test]
fn what_changed_places_with_another_is_not_where_it_was() {
    let mut directories = three();
    directories.moved(C, Some(&path("/ab")), Some(&path("/a")));
    assert_eq!(known(&directories), [None, None, Some("/a")]);
}

#[test]
fn an_inode_that_is_used_again_is_where_the_new_directory_is() {
    let mut directories = three();
    directories.moved(B, None, Some(&path("/ab/new")));
    assert_eq!(known(&directories), [Some("/a"), Some("/ab/new"), Some("/ab")]);
}

#[test]
fn more_than_can_be_remembered_makes_it_begin_anew() {
    let mut directories = Directories::default();
    for inode in 0..=MAX_KNOWN as u64 {
        directories.see((2, inode), &path("/many"));
    }
    assert_eq!(directories.paths.len(), 1);
    assert_eq!(directories.path((2, MAX_KNOWN as u64)), Some(&path("/many")));
}
