use super::*;

fn matches(pattern: &str, path: &str) -> bool {
    Pattern::parse(pattern).unwrap().matches(path.as_bytes())
}

#[test]
fn one_wildcard_stays_within_its_level() {
    for wildcard in ["%", "*"] {
        let pattern = format!("/etc/{wildcard}");
        assert!(matches(&pattern, "/etc/passwd"));
        assert!(matches(&pattern, "/etc/.hidden"));
        assert!(!matches(&pattern, "/etc/ssh/sshd_config"));
        assert!(!matches(&pattern, "/etc"));
        assert!(!matches(&pattern, "/etc2/passwd"));
    }
}

#[test]
fn two_wildcards_match_one_level_or_more() {
    assert!(matches("/etc/%%", "/etc/passwd"));
    assert!(matches("/etc/%%", "/etc/ssh/sshd_config.d/x"));
    assert!(!matches("/etc/%%", "/etc"));
    assert!(matches("/etc/**", "/etc/ssh"));
    assert!(matches("/%%", "/a"));
    assert!(!matches("/%%", "/"));
    assert!(matches("/home/%/.ssh/%%", "/home/u/.ssh/a/b"));
    assert!(!matches("/home/%/.ssh/%%", "/home/u/x/.ssh/a"));
}

#[test]
fn wildcards_may_stand_within_a_name() {
    assert!(matches("/bin/%sh", "/bin/bash"));
    assert!(matches("/bin/%sh", "/bin/sh"));
    assert!(!matches("/bin/%sh", "/bin/shells"));
    assert!(matches("/bin/ba%", "/bin/ba"));
    assert!(matches("/a/x%y%z", "/a/xaybz"));
    assert!(matches("/a/x%y%z", "/a/xyz"));
    assert!(!matches("/a/x%y%z", "/a/xz"));
    assert!(!matches("/a/ab%ba", "/a/aba"));
    assert!(matches("/a/log%%", "/a/log/x/y"));
    assert!(!matches("/a/log%%", "/a/lo/x"));
}

#[test]
fn a_recursive_wildcard_in_the_middle_is_tried_at_every_depth() {
    assert!(matches("/a/%%/x", "/a/b/x"));
    assert!(matches("/a/%%/x", "/a/b/c/x"));
    assert!(!matches("/a/%%/x", "/a/x"));
    assert!(!matches("/a/%%/x", "/a/b/c"));
}

#[test]
fn slashes_do_not_matter_and_relative_paths_never_match() {
    assert!(matches("/etc//passwd/", "/etc/passwd"));
    assert!(matches("/etc/passwd", "/etc/passwd/"));
    assert!(!matches("/%%", "etc/passwd"));
    assert_eq!(Pattern::parse("etc/%"), None);
}

#[test]
fn a_root_is_what_precedes_the_wildcards() {
    let root = |pattern: &str| {
        let (path, depth) = Pattern::parse(pattern).unwrap().root();
        (String::from_utf8(path).unwrap(), depth)
    };
    assert_eq!(root("/etc/%%"), ("/etc".into(), None));
    assert_eq!(root("/etc/%"), ("/etc".into(), Some(1)));
    assert_eq!(root("/home/%/x"), ("/home".into(), Some(2)));
    assert_eq!(root("/etc/passwd"), ("/etc/passwd".into(), Some(0)));
    assert_eq!(root("/%"), ("/".into(), Some(1)));
    let pattern = Pattern::parse("/bin/%sh").unwrap();
    assert!(pattern.rebased(b"/usr/bin").matches(b"/usr/bin/bash"));
}
