//! Which directories matter, and under which name a path is wanted.

use super::*;
use crate::source::Root;

struct Under(Vec<(&'static str, Option<u32>)>);

impl PathFilter for Under {
    fn matches(&self, file: &[u8]) -> bool {
        self.0.iter().any(|(root, _)| path::below(file, root.as_bytes()).is_some())
    }

    fn roots(&self) -> Vec<Root> {
        self.0.iter().map(|&(path, depth)| Root { path: path.into(), depth }).collect()
    }
}

fn watch(roots: &[(&'static str, Option<u32>)]) -> Watch {
    Watch::new(Arc::new(Under(roots.to_vec())), |path| {
        // As where /var/run is a link to /run.
        match path::below(path, b"/var/run") {
            Some(rest) => path::join(b"/run", rest),
            None => path.to_vec(),
        }
    })
}

#[test]
fn a_directory_matters_at_and_below_a_root_and_right_above_it() {
    let watch = watch(&[("/a/b", None)]);
    for dir in ["/a", "/a/b", "/a/b/c", "/a/b/c/d"] {
        assert_eq!(watch.verdict(dir.as_bytes()), Verdict::Maybe, "{dir}");
    }
    for dir in ["/", "/a/bc", "/b", "/a/c", "/aa"] {
        assert_eq!(watch.verdict(dir.as_bytes()), Verdict::Never, "{dir}");
    }
}

#[test]
fn depth_ends_what_matters() {
    let watch = watch(&[("/a", Some(1)), ("/etc/passwd", Some(0))]);
    assert_eq!(watch.verdict(b"/a/b"), Verdict::Maybe);
    assert_eq!(watch.verdict(b"/a/b/c"), Verdict::Never);
    assert_eq!(watch.verdict(b"/etc"), Verdict::Maybe);
    assert_eq!(watch.verdict(b"/etc/ssh"), Verdict::Never);
}

#[test]
fn the_root_of_all_is_a_root() {
    let watch = watch(&[("/", None)]);
    assert_eq!(watch.verdict(b"/"), Verdict::Maybe);
    assert_eq!(watch.verdict(b"/any/where"), Verdict::Maybe);
}

#[test]
fn the_way_to_a_root_leads_to_it() {
    let watch = watch(&[("/a/b/c", Some(1))]);
    for dir in ["/", "/a", "/a/b", "/a/b/c", "/a/b/c/d"] {
        assert!(watch.leads_to(dir.as_bytes()), "{dir}");
    }
    for dir in ["/b", "/a/c", "/a/b/c/d/e"] {
        assert!(!watch.leads_to(dir.as_bytes()), "{dir}");
    }
}

#[test]
fn a_path_is_shown_as_the_root_that_wants_it_is_written() {
    let watch = watch(&[("/var/run/app", None), ("/srv", None)]);
    assert_eq!(watch.verdict(b"/run/app/x"), Verdict::Maybe);
    assert_eq!(watch.verdict(b"/var/run/app"), Verdict::Never);
    assert_eq!(watch.wanted(b"/run/app/pid"), Some(b"/var/run/app/pid".to_vec()));
    assert_eq!(watch.wanted(b"/run/app"), Some(b"/var/run/app".to_vec()));
    assert_eq!(watch.wanted(b"/srv/x"), Some(b"/srv/x".to_vec()));
    assert_eq!(watch.wanted(b"/run/other"), None);
}

#[test]
fn what_exists_of_a_path_is_resolved_and_the_rest_kept() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    std::fs::create_dir(base.join("real")).unwrap();
    std::os::unix::fs::symlink("real", base.join("link")).unwrap();
    let asked = base.join("link/not/yet");
    let real = base.join("real/not/yet");
    assert_eq!(resolve_existing(asked.as_os_str().as_bytes()), real.as_os_str().as_bytes());
    assert_eq!(resolve_existing(b"/"), b"/");
    assert_eq!(resolve_existing(b"/no-such-thing/x"), b"/no-such-thing/x");
}
