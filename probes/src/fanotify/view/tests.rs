//! File systems seen from several places, and the paths that follow.

use std::sync::Arc;

use super::*;
use crate::source::{PathFilter, Root};

struct Roots(Vec<&'static str>);

impl PathFilter for Roots {
    fn matches(&self, file: &[u8]) -> bool {
        self.0.iter().any(|root| path::below(file, root.as_bytes()).is_some())
    }

    fn roots(&self) -> Vec<Root> {
        self.0.iter().map(|&path| Root { path: path.into(), depth: None }).collect()
    }
}

/// As on a host whose root is a part of a file system: the whole is at /sysroot, /home is a bind
/// mount of another part, and a single file is mounted over /etc/resolv.conf.
const TABLE: &[u8] = b"\
1 0 8:1 /deploy/1 / rw - xfs /dev/sda1 rw
2 1 8:1 / /sysroot rw - xfs /dev/sda1 rw
3 1 8:1 /var/home /home rw - xfs /dev/sda1 rw
4 1 8:1 /var/run/resolv.conf /etc/resolv.conf rw - xfs /dev/sda1 rw
5 1 0:9 / /var rw - tmpfs none rw
";

fn seen(roots: &[&'static str], internal: &str) -> View {
    let mounts = Mounts::parse(TABLE);
    let points: Vec<Point> = mounts
        .list()
        .iter()
        .filter(|mount| mount.device == (8, 1))
        .map(|mount| Point { id: mount.id, path: mount.point.clone(), root: mount.root.clone() })
        .collect();
    let watch = Watch::new(Arc::new(Roots(roots.to_vec())), <[u8]>::to_vec);
    View::new(&mounts, &points, &watch, internal.as_bytes())
}

fn text(paths: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
}

#[test]
fn a_directory_has_a_path_by_each_mount_that_shows_it() {
    let view = seen(&["/home"], "/var/home/x");
    assert_eq!(text(view.dirs), ["/home/x", "/sysroot/var/home/x"]);
    assert_eq!(view.verdict, Verdict::Maybe);
    let view = seen(&["/sysroot/var"], "/var/home/x");
    assert_eq!(text(view.dirs), ["/sysroot/var/home/x", "/home/x"]);
}

#[test]
fn a_root_that_is_a_part_of_a_file_system_is_seen_as_the_root() {
    let view = seen(&["/etc"], "/deploy/1/etc/ssh");
    assert_eq!(
        text(view.paths(b"config")),
        ["/etc/ssh/config", "/sysroot/deploy/1/etc/ssh/config"]
    );
    assert_eq!(text(seen(&["/etc"], "/deploy/1").paths(b"etc")), ["/etc", "/sysroot/deploy/1/etc"]);
}

#[test]
fn what_is_covered_has_no_path_there() {
    // /var is a tmpfs: the part of the root that lies below it is not seen as /var.
    let view = seen(&["/var"], "/deploy/1/var/log");
    assert_eq!(text(view.dirs), ["/sysroot/deploy/1/var/log"]);
    assert_eq!(view.verdict, Verdict::Never);
}

#[test]
fn a_file_mounted_by_itself_is_seen_where_it_is_mounted() {
    let view = seen(&["/etc"], "/var/run");
    assert_eq!(view.verdict, Verdict::Maybe);
    assert_eq!(
        text(view.paths(b"resolv.conf")),
        ["/sysroot/var/run/resolv.conf", "/etc/resolv.conf"]
    );
    assert_eq!(text(view.paths(b"other")), ["/sysroot/var/run/other"]);
    assert_eq!(seen(&["/srv"], "/var/run").verdict, Verdict::Never);
}

#[test]
fn a_directory_itself_is_the_name_dot() {
    assert_eq!(text(seen(&["/home"], "/var/home").paths(b".")), ["/home", "/sysroot/var/home"]);
}
