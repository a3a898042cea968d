use super::*;

fn config(paths: &[&str], excluded: &[&str]) -> WatchConfig {
    let list = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
    WatchConfig {
        file_paths: vec![("c".into(), list(paths))],
        exclude_paths: vec![("c".into(), list(excluded))],
        file_accesses: Vec::new(),
    }
}

fn watch(paths: &[&str], excluded: &[&str]) -> Watch {
    Watch::new(&config(paths, excluded), |_| None)
}

fn watches(pattern: &str, path: &str) -> bool {
    watch(&[pattern], &[]).matches(path.as_bytes())
}

#[test]
fn osquerys_own_examples_hold() {
    assert!(watches("/Users/%/Library", "/Users/a/Library"));
    assert!(!watches("/Users/%/Library", "/Users/a/Library/x/y"));
    assert!(watches("/Users/%/Library/", "/Users/a/Library/x"));
    assert!(!watches("/Users/%/Library/", "/Users/a/Library/x/y"));
    assert!(watches("/Users/%/Library/%", "/Users/a/Library/x"));
    assert!(!watches("/Users/%/Library/%", "/Users/a/Library/x/y"));
    assert!(watches("/Users/%/Library/%%", "/Users/a/Library/x/y/z"));
    assert!(watches("/bin/%sh", "/bin/bash"));
    assert!(!watches("/bin/%sh", "/bin/ls"));
    assert!(watches("/home/%/.ssh/%%", "/home/u/.ssh/authorized_keys"));
    assert!(watches("/root/.ssh/%%", "/root/.ssh/a/b"));
    assert!(watches("/etc/**", "/etc/ssh/sshd_config"));
}

#[test]
fn a_directory_named_without_a_wildcard_is_watched_one_level_deep() {
    // inotify_add_watch on a directory reports its entries.
    assert!(watches("/etc", "/etc/passwd"));
    assert!(watches("/etc", "/etc"));
    assert!(!watches("/etc", "/etc/ssh/sshd_config"));
    assert!(watches("/etc/passwd", "/etc/passwd"));
    assert!(!watches("/etc/passwd", "/etc/passwd-"));
}

#[test]
fn what_follows_a_recursive_wildcard_is_ignored() {
    assert!(watches("/Users/%%/Configuration.conf", "/Users/a/other"));
}

#[test]
fn links_before_the_first_wildcard_are_resolved() {
    let config = config(&["/bin/%sh", "/etc/localtime"], &["/bin/dash"]);
    let watch = Watch::new(&config, |path| match path.to_str()? {
        "/bin" => Some("/usr/bin".into()),
        "/bin/dash" => Some("/usr/bin/dash".into()),
        "/etc/localtime" => Some("/usr/share/zoneinfo/UTC".into()),
        _ => None,
    });
    assert!(watch.matches(b"/usr/bin/bash"));
    assert!(watch.matches(b"/bin/bash"));
    assert!(!watch.matches(b"/usr/bin/dash"));
    assert!(watch.matches(b"/etc/localtime"));
    assert!(watch.matches(b"/usr/share/zoneinfo/UTC"));
}

#[test]
fn exclusions_follow_osquerys_path_sets() {
    let excluded = |exclusion: &str, path: &str| {
        let watch = watch(&["/%%"], &[exclusion]);
        !watch.matches(path.as_bytes())
    };
    // A directory: its entries, and not what is below these.
    assert!(excluded("/tmp/too_many_events/", "/tmp/too_many_events/x"));
    assert!(excluded("/tmp/too_many_events", "/tmp/too_many_events"));
    assert!(!excluded("/tmp/too_many_events/", "/tmp/too_many_events/sub/x"));
    // A single file.
    assert!(excluded("/etc/motd", "/etc/motd"));
    assert!(!excluded("/etc/motd", "/etc/motd.d"));
    // Recursive, the directory itself included.
    assert!(excluded("/var/log/%%", "/var/log"));
    assert!(excluded("/var/log/%%", "/var/log/a/b/c"));
    assert!(!excluded("/var/log/%%", "/var/lib/a"));
    // A trailing % reaches deeper levels too, but not the directory itself.
    assert!(excluded("/srv/%", "/srv/a/b"));
    assert!(!excluded("/srv/%", "/srv"));
    assert!(excluded("/home/%/cache", "/home/u/cache/x"));
    assert!(!excluded("/home/%/cache", "/home/u/cache/sub/x"));
    // Partial wildcards are no wildcards.
    assert!(!excluded("/a/xyz%", "/a/xyz1"));
    assert!(excluded("/a/xyz%", "/a/xyz%"));
}

#[test]
fn exclusions_hold_for_every_category_and_the_first_category_counts() {
    let watch = Watch::new(
        &WatchConfig {
            file_paths: vec![
                ("etc".into(), vec!["/etc/%%".into()]),
                ("all".into(), vec!["/%%".into(), "not/absolute".into()]),
            ],
            exclude_paths: vec![("nonsense".into(), vec!["/etc/mtab".into()])],
            file_accesses: vec!["etc".into()],
        },
        |_| None,
    );
    assert_eq!(watch.category(b"/etc/passwd"), Some("etc"));
    assert_eq!(watch.category(b"/usr/x"), Some("all"));
    assert_eq!(watch.category(b"/etc/mtab"), None);
    assert_eq!(watch.access_category(b"/etc/passwd"), Some("etc"));
    assert_eq!(watch.access_category(b"/usr/x"), None);
    assert!(watch.wants_accesses());
    assert_eq!(watch.ignored(), ["not/absolute"]);
}

#[test]
fn roots_are_free_of_wildcards_and_deep_enough() {
    let roots = watch(&["/etc/%%", "/etc/%", "/home/%/.ssh/%", "/etc/passwd"], &[]).roots();
    let root = |path: &str, depth| Root { path: path.into(), depth };
    assert_eq!(roots, [root("/etc", None), root("/etc/passwd", Some(1)), root("/home", Some(3))]);
    assert!(Watch::default().roots().is_empty());
}

#[test]
fn the_maps_are_read_from_the_configuration_and_its_packs() {
    let config = serde_json::json!({
        "file_paths": {"etc": ["/etc/%%", 5, ""], "bad": "/x"},
        "exclude_paths": {"etc": ["/etc/mtab"]},
        "file_accesses": ["etc"],
        "packs": {
            "fim": {"file_paths": {"etc": ["/opt/etc/%"], "home": ["/home/%"]}},
            "elsewhere": "/etc/osquery/packs/x.conf"
        }
    });
    let read = WatchConfig::from_json(&config);
    let list = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        read.file_paths,
        [("etc".into(), list(&["/etc/%%", "/opt/etc/%"])), ("home".into(), list(&["/home/%"]))]
    );
    assert_eq!(read.exclude_paths, [("etc".into(), list(&["/etc/mtab"]))]);
    assert_eq!(read.file_accesses, ["etc"]);
    assert_eq!(WatchConfig::from_json(&serde_json::json!([])), WatchConfig::default());
}
