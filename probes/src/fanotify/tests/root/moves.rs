//! Directories that come, go and move, and what is done in them meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use FileAction::{CloseWrite, Create, Link, Mkdir, Rename, Rmdir, Unlink};

fn make(path: PathBuf) {
    fs::File::create(path).unwrap();
}

/// But for the few whose directory was gone before it could be looked up, as happens on a host that is
/// busy: each of those is counted.
#[test]
fn a_tree_removed_at_once_is_told_name_by_name() {
    for file_system in ["/tmp", "/dev/shm"] {
        let scene = Scene::new(file_system);
        let watched = scene.watched();
        // It was there before the watch, so none of its directories is known.
        let mut expected = BTreeSet::from([did(Rmdir, "tree")]);
        for outer in 0..20 {
            let dir = format!("tree/{outer}");
            fs::create_dir_all(watched.join(&dir).join("deep/er")).unwrap();
            for file in ["a", "deep/b", "deep/er/c"] {
                make(watched.join(&dir).join(file));
                expected.insert(did(Unlink, &format!("{dir}/{file}")));
            }
            for inner in ["", "/deep", "/deep/er"] {
                expected.insert(did(Rmdir, &format!("{dir}{inner}")));
            }
        }
        let watching = Watching::on(&watched);
        run("exec rm -r tree", &watched);
        let done: BTreeSet<Done> = watching.done(&watched).into_iter().collect();
        let invented: Vec<_> = done.difference(&expected).collect();
        assert!(invented.is_empty(), "{invented:?}");
        let missing: Vec<_> = expected.difference(&done).collect();
        let health = watching.health();
        assert_eq!(missing.len() as u64, health.lost_missed, "{missing:?} {health:?}");
        assert!(missing.len() <= expected.len() / 10, "{missing:?} {health:?}");
    }
}

#[test]
fn a_tree_made_and_removed_before_anyone_looked_is_told_name_by_name() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    let watching = Watching::on(&watched);
    let act = || {
        run("mkdir a; mkdir a/b; mknod a/b/c p; rm -r a", &watched);
    };
    watching.while_it_hangs(|| make(watched.join("bait")), act);
    let done: BTreeSet<Done> = watching.done(&watched).into_iter().collect();
    let expected = [
        did(Mkdir, "a"),
        did(Mkdir, "a/b"),
        did(Create, "a/b/c"),
        did(Unlink, "a/b/c"),
        did(Rmdir, "a/b"),
        did(Rmdir, "a"),
    ];
    assert_eq!(done, BTreeSet::from(expected));
}

#[test]
fn what_happened_before_a_directory_was_renamed_keeps_its_old_path() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    fs::create_dir_all(watched.join("old/sub")).unwrap();
    let watching = Watching::on(&watched);
    let act = || {
        make(watched.join("old/sub/before"));
        fs::rename(watched.join("old"), watched.join("new")).unwrap();
        make(watched.join("new/sub/between"));
        fs::rename(watched.join("new"), scene.other().join("away")).unwrap();
        make(scene.other().join("away/sub/after"));
    };
    watching.while_it_hangs(|| make(watched.join("bait")), act);
    let away = scene.other().join("away");
    assert_eq!(
        watching.done(&watched),
        [
            did(Create, "old/sub/before"),
            did_to(Rename, "old", "new"),
            did(Create, "new/sub/between"),
            did_to(Rename, "new", away.to_str().unwrap()),
        ]
    );
}

#[test]
fn a_directory_renamed_forth_and_back_and_forth_is_where_it_ended() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    fs::create_dir(watched.join("a")).unwrap();
    let watching = Watching::on(&watched);
    let act = || {
        // The kernel merges the third rename with the first.
        for (from, to) in [("a", "b"), ("b", "a"), ("a", "b")] {
            fs::rename(watched.join(from), watched.join(to)).unwrap();
        }
    };
    watching.while_it_hangs(|| make(watched.join("bait")), act);
    watching.take();
    make(watched.join("b/file"));
    assert_eq!(watching.done(&watched), [did(Create, "b/file")]);
}

#[test]
fn a_directory_moved_into_the_watch_is_watched_from_then_on() {
    let scene = Scene::new("/tmp");
    let (watched, other) = (scene.watched(), scene.other());
    fs::create_dir_all(other.join("d/sub")).unwrap();
    let watching = Watching::on(&watched);
    make(other.join("d/sub/unseen"));
    assert_eq!(watching.done(&watched), []);
    let act = || {
        fs::rename(other.join("d"), watched.join("d")).unwrap();
        make(watched.join("d/sub/seen"));
    };
    watching.while_it_hangs(|| make(watched.join("bait")), act);
    let from = other.join("d");
    assert_eq!(
        watching.done(&watched),
        [did_to(Rename, from.to_str().unwrap(), "d"), did(Create, "d/sub/seen")]
    );
}

#[test]
fn by_names_a_renamed_directory_has_its_new_path_afterwards() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    fs::create_dir_all(watched.join("old/sub")).unwrap();
    let watching = Watching::start(Fanotify::by_names(), &below(&[&watched]));
    make(watched.join("old/sub/before"));
    assert_eq!(watching.done(&watched), [did(Create, "old/sub/before")]);
    run("exec mv old new", &watched);
    make(watched.join("new/sub/after"));
    assert_eq!(
        watching.done(&watched),
        [did_to(Rename, "old", "new"), did(Create, "new/sub/after")]
    );
}

#[test]
fn by_names_renames_by_two_threads_at_once_are_never_mixed_up() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    let watching = Watching::start(Fanotify::by_names(), &below(&[&watched]));
    std::thread::scope(|scope| {
        for thread in ["x", "y"] {
            let watched = watched.clone();
            scope.spawn(move || {
                for number in 0..1000 {
                    let name = |end: &str| watched.join(format!("{thread}{number}{end}"));
                    make(name(""));
                    fs::rename(name(""), name("-renamed")).unwrap();
                }
            });
        }
    });
    let done = watching.done(&watched);
    let renames = done.iter().filter(|done| done.0 == "Rename");
    let (mut whole, mut first, mut second) = (0, 0, 0);
    for Done(_, from, to) in renames {
        match to {
            Some(to) if from.is_empty() => {
                assert!(to.ends_with("-renamed"));
                second += 1;
            }
            Some(to) => {
                assert_eq!(*to, format!("{from}-renamed"));
                whole += 1;
            }
            None => first += 1,
        }
    }
    assert_eq!((whole + first, whole + second), (2000, 2000));
}

#[test]
fn a_root_that_does_not_exist_yet_is_watched_when_it_does() {
    let scene = Scene::new("/tmp");
    let root = scene.watched().join("not/yet");
    let watching = Watching::on(&root);
    fs::create_dir_all(root.join("sub")).unwrap();
    make(root.join("sub/file"));
    let expected = [did(Mkdir, ""), did(Mkdir, "sub"), did(Create, "sub/file")];
    assert_eq!(watching.done(&root), expected);
    fs::remove_dir_all(&root).unwrap();
    fs::create_dir_all(&root).unwrap();
    make(root.join("again"));
    let done = watching.done(&root);
    assert_eq!(done.last(), Some(&did(Create, "again")), "{done:?}");
}

#[test]
fn a_single_file_is_watched_and_its_neighbours_are_not() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    let root = Root { path: watched.join("passwd"), depth: Some(0) };
    let watching = Watching::start(Fanotify::new(), &config(vec![root]));
    make(watched.join("other"));
    // As passwd(1) and every editor do it.
    write(&watched.join("passwd.new"));
    fs::rename(watched.join("passwd.new"), watched.join("passwd")).unwrap();
    assert_eq!(watching.done(&watched), [did_to(Rename, "passwd.new", "passwd")]);
}

#[test]
fn a_root_behind_a_symbolic_link_is_shown_as_it_was_written() {
    let scene = Scene::new("/tmp");
    let link = scene.base.path().join("link");
    symlink("in", &link).unwrap();
    let watching = Watching::on(&link);
    make(link.join("by-link"));
    make(scene.watched().join("directly"));
    assert_eq!(watching.done(&link), [did(Create, "by-link"), did(Create, "directly")]);
}

#[test]
fn a_file_made_without_a_name_is_known_by_the_one_it_is_given() {
    for file_system in ["/tmp", "/dev/shm"] {
        let scene = Scene::new(file_system);
        let watched = scene.watched();
        let watching = Watching::on(&watched);
        // Python's own link() does not follow the link of the descriptor.
        let script = "import ctypes, os, sys\n\
            make = lambda: os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR, 0o600)\n\
            file = make()\n\
            os.write(file, b'x')\n\
            link = f'/proc/self/fd/{file}'.encode()\n\
            name = (sys.argv[1] + '/named').encode()\n\
            assert ctypes.CDLL(None).linkat(-100, link, -100, name, 0x400) == 0\n\
            os.write(file, b'y')\n\
            os.close(file)\n\
            os.write(make(), b'never named')";
        python(script, &watched);
        let done = watching.done(&watched);
        assert_eq!(done, [did(Create, "named"), did(CloseWrite, "named")]);
    }
}

#[test]
fn a_file_replaced_by_way_of_a_link_is_a_link_and_an_unlink() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    let watching = Watching::on(&watched);
    write(&watched.join("temporary"));
    fs::hard_link(watched.join("temporary"), watched.join("final")).unwrap();
    fs::remove_file(watched.join("temporary")).unwrap();
    assert_eq!(
        watching.done(&watched).into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([
            did(Create, "temporary"),
            did(CloseWrite, "temporary"),
            did_to(Link, "final", "temporary"),
            did(Unlink, "temporary"),
        ])
    );
}

#[test]
fn an_old_file_linked_into_the_watch_is_a_link() {
    let scene = Scene::new("/tmp");
    let (watched, other) = (scene.watched(), scene.other());
    make(other.join("old"));
    let watching = Watching::on(&watched);
    // Old enough that its creation cannot be among what is read next.
    let made = Instant::now();
    wait_for("the file to be old", || made.elapsed() > Duration::from_millis(300));
    make(other.join("unrelated"));
    watching.take();
    fs::hard_link(other.join("old"), watched.join("new")).unwrap();
    assert_eq!(watching.done(&watched), [did(Link, "new")]);
}

#[test]
fn our_own_doings_are_counted_and_not_reported() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    let config = SourceConfig { own_pid: std::process::id(), ..below(&[&watched]) };
    let watching = Watching::start(Fanotify::new(), &config);
    let before = watching.health().filtered_kernel;
    fs::create_dir(watched.join("ours")).unwrap();
    make(watched.join("ours/file"));
    run("echo x > ours/theirs", &watched);
    assert_eq!(
        watching.done(&watched),
        [did(Create, "ours/theirs"), did(CloseWrite, "ours/theirs")]
    );
    assert!(watching.health().filtered_kernel >= before + 2);
}
