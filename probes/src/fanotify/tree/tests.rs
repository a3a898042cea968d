//! Where directories were, while what moves them is still to come.

use super::*;

/// As if all that matters were below `/w`, and the file system mounted at `/`.
fn view(internal: &[u8]) -> View {
    let above = path::parent(b"/w") == internal;
    let verdict = match path::below(internal, b"/w") {
        None if !above => Verdict::Never,
        _ => Verdict::Maybe,
    };
    View { dirs: vec![internal.to_vec()], entries: Vec::new(), verdict }
}

/// `/` is top, `/w` holds `d`, which holds `e`; `/u` is beside it.
fn tree() -> Tree {
    let mut tree = Tree::default();
    tree.set(b"top".as_slice().into(), Place::Top(b"/".as_slice().into()));
    for (dir, parent, name) in
        [("w", "top", "w"), ("u", "top", "u"), ("d", "w", "d"), ("e", "d", "e")]
    {
        tree.created(dir.as_bytes(), parent.as_bytes(), name.as_bytes());
    }
    tree
}

fn at(tree: &mut Tree, dir: &str, sequence: u64) -> String {
    match tree.at(dir.as_bytes(), sequence, view) {
        Found::At(view) => {
            format!("{} {:?}", String::from_utf8_lossy(&view.dirs[0]), view.verdict)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_path_is_the_names_from_the_top() {
    let mut tree = tree();
    assert_eq!(at(&mut tree, "e", 1), "/w/d/e Maybe");
    assert_eq!(at(&mut tree, "u", 1), "/u Never");
    assert_eq!(at(&mut tree, "top", 1), "/ Maybe");
}

#[test]
fn a_rename_to_come_leaves_the_path_until_it_does() {
    let mut tree = tree();
    let old = tree.child(b"w", b"d");
    tree.announce(5, b"d", old);
    assert_eq!(at(&mut tree, "e", 4), "/w/d/e Maybe");
    // It was handled: where the directory is now has to be looked up.
    tree.renamed(b"d", b"u", b"x");
    tree.settle(5, b"d");
    assert_eq!(at(&mut tree, "e", 6), format!("{:?}", Found::Unknown(b"d".as_slice().into())));
    tree.created(b"d", b"u", b"x");
    assert_eq!(at(&mut tree, "e", 6), "/u/x/e Never");
}

#[test]
fn a_directory_looked_up_after_its_renames_is_where_each_of_them_found_it() {
    let mut tree = tree();
    let (first, second) = (tree.child(b"w", b"one"), tree.child(b"u", b"two"));
    tree.announce(5, b"d", first);
    tree.announce(8, b"d", second);
    // What the file system says by now.
    tree.created(b"d", b"u", b"three");
    assert_eq!(at(&mut tree, "e", 3), "/w/one/e Maybe");
    assert_eq!(at(&mut tree, "e", 5), "/w/one/e Maybe");
    assert_eq!(at(&mut tree, "e", 6), "/u/two/e Never");
    assert_eq!(at(&mut tree, "e", 9), "/u/three/e Never");
}

#[test]
fn a_tree_that_is_being_removed_is_found_by_what_removes_it() {
    let mut tree = Tree::default();
    tree.set(b"w".as_slice().into(), Place::Top(b"/w".as_slice().into()));
    // rm -r d: the file system knows neither d nor e any more.
    let place = tree.child(b"d", b"e");
    tree.announce(3, b"e", place);
    let place = tree.child(b"w", b"d");
    tree.announce(7, b"d", place);
    assert_eq!(at(&mut tree, "e", 2), "/w/d/e Maybe");
    tree.removed(b"e", b"d", b"e");
    tree.settle(3, b"e");
    tree.removed(b"d", b"w", b"d");
    tree.settle(7, b"d");
    // Merged removals come before what happened in the directory: it stays known.
    assert_eq!(at(&mut tree, "e", 9), "/w/d/e Maybe");
}

#[test]
fn a_verdict_is_quick_only_while_nothing_is_announced() {
    let mut tree = tree();
    assert_eq!(tree.quick_verdict(b"u"), None);
    at(&mut tree, "u", 1);
    assert_eq!(tree.quick_verdict(b"u"), Some(Verdict::Never));
    let place = tree.child(b"w", b"d");
    tree.announce(5, b"d", place);
    assert_eq!(tree.quick_verdict(b"u"), None);
    tree.settle(5, b"d");
    assert_eq!(tree.quick_verdict(b"u"), Some(Verdict::Never));
    tree.forget_paths();
    assert_eq!(tree.quick_verdict(b"u"), None);
}

#[test]
fn a_cached_path_does_not_outlive_the_rename_of_a_directory_above() {
    let mut tree = tree();
    assert_eq!(at(&mut tree, "e", 1), "/w/d/e Maybe");
    tree.renamed(b"d", b"u", b"x");
    tree.created(b"d", b"u", b"x");
    assert_eq!(at(&mut tree, "e", 2), "/u/x/e Never");
}

#[test]
fn what_is_hidden_hides_what_is_in_it() {
    let mut tree = tree();
    tree.set(b"d".as_slice().into(), Place::Hidden);
    assert_eq!(at(&mut tree, "e", 1), "Hidden");
    assert_eq!(tree.quick_verdict(b"d"), Some(Verdict::Never));
}

#[test]
fn a_circle_ends() {
    let mut tree = Tree::default();
    tree.created(b"a", b"b", b"x");
    tree.created(b"b", b"a", b"y");
    assert_eq!(at(&mut tree, "a", 1), "Hidden");
}

#[test]
fn a_marked_directory_is_kept_whatever_comes() {
    let mut tree = Tree::new(4);
    tree.set_marked(b"m".as_slice().into(), Place::Top(b"/w/m".as_slice().into()));
    for number in 0..100_u32 {
        tree.created(&number.to_ne_bytes(), b"m", b"x");
    }
    tree.clear();
    assert_eq!(at(&mut tree, "m", 1), "/w/m Maybe");
    tree.renamed(b"m", b"m2", b"n");
    assert!(tree.is_marked(b"m"));
    tree.unmark(b"m");
    assert_eq!(tree.marked_len(), 0);
    assert!(tree.knows(b"m"));
}
