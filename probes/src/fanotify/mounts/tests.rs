//! Mount tables as found, and what they ask for.

use super::*;

const TABLE: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw,relatime shared:2 - devtmpfs devtmpfs rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
29 27 0:27 / /dev/shm rw - tmpfs elsewhere rw
30 25 0:28 / /dev/shm rw,relatime - tmpfs tmpfs rw
31 27 254:0 /srv/a\\040b /mnt/a\\134b rw,relatime master:1 propagate_from:2 - ext4 /dev/vda rw
32 27 0:40 / /mnt/nfs rw - nfs4 host:/x rw
33 27 8:1 / /srv rw - xfs /dev/sda1 rw
34 33 0:50 / /srv/deep/tmp rw - tmpfs tmpfs rw
not a line
";

fn roots(roots: &[(&str, Option<u32>)]) -> Vec<WatchRoot> {
    let root = |&(path, depth): &(&str, Option<u32>)| WatchRoot {
        asked: path.as_bytes().to_vec(),
        real: path.as_bytes().to_vec(),
        depth,
    };
    roots.iter().map(root).collect()
}

fn watched(asked: &[(&str, Option<u32>)]) -> Vec<String> {
    let plan = plan(&Mounts::parse(TABLE), &roots(asked));
    plan.targets.iter().map(|one| String::from_utf8_lossy(&one.watched).into_owned()).collect()
}

#[test]
fn lines_are_read_with_their_optional_fields_and_escapes() {
    let mounts = Mounts::parse(TABLE);
    let mounts = mounts.list();
    assert_eq!(mounts.len(), 10);
    let bind = mounts.iter().find(|mount| mount.id == 31).unwrap();
    assert_eq!((bind.parent, bind.device), (27, (254, 0)));
    assert_eq!(bind.root, b"/srv/a b");
    assert_eq!(bind.point, b"/mnt/a\\b");
    assert_eq!(bind.kind, "ext4");
    assert_eq!(bind.source, b"/dev/vda");
}

#[test]
fn a_path_is_on_the_mount_that_a_walk_ends_on() {
    let mounts = Mounts::parse(TABLE);
    let at = |path: &str| mounts.at(path.as_bytes()).unwrap().id;
    assert_eq!(at("/"), 27);
    assert_eq!(at("/procfs"), 27);
    assert_eq!(at("/proc/1"), 22);
    // Two mounts on one point: the one on top counts. The third is hidden below /dev.
    assert_eq!(at("/dev/shm/x"), 30);
    assert_eq!(at("/srv/deep"), 33);
    assert_eq!(at("/srv/deep/tmp"), 34);
    assert_eq!(at("/srv/deep/tmp/x/y"), 34);
    assert_eq!(at("/srv/deep/tmpfile"), 33);
}

#[test]
fn what_holds_a_root_is_marked_and_what_is_mounted_below_it() {
    assert_eq!(watched(&[("/home/x", None)]), ["/"]);
    assert_eq!(watched(&[("/srv", None)]), ["/srv", "/srv/deep/tmp"]);
    assert_eq!(watched(&[("/srv/deep/tmp/x", Some(3))]), ["/srv/deep/tmp"]);
    assert_eq!(watched(&[]), Vec::<String>::new());
}

#[test]
fn depth_keeps_mounts_out_that_lie_too_deep() {
    assert_eq!(watched(&[("/srv", Some(1))]), ["/srv"]);
    assert_eq!(watched(&[("/srv", Some(2))]), ["/srv", "/srv/deep/tmp"]);
}

#[test]
fn a_file_system_is_marked_once_and_seen_first_where_all_of_it_is() {
    let plan = plan(&Mounts::parse(TABLE), &roots(&[("/mnt", None), ("/etc", None)]));
    let [target] = &plan.targets[..] else { panic!("{plan:?}") };
    let points: Vec<_> = target.points.iter().map(|point| point.path.as_slice()).collect();
    assert_eq!(points, [&b"/"[..], b"/mnt/a\\b"]);
    // What no root has to do with is of no use.
    let elsewhere = super::plan(&Mounts::parse(TABLE), &roots(&[("/etc", None)]));
    assert_eq!(elsewhere.targets[0].points.len(), 1);
}

#[test]
fn what_is_no_storage_is_left_out_and_named_unless_it_was_asked_for() {
    let plan = plan(&Mounts::parse(TABLE), &roots(&[("/", None)]));
    let kinds: Vec<_> = plan.targets.iter().map(|target| target.kind.as_str()).collect();
    assert_eq!(kinds, ["ext4", "devtmpfs", "tmpfs", "xfs", "tmpfs"]);
    let left_out: Vec<_> = plan.left_out.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(left_out, ["proc", "nfs4"]);
    assert_eq!(watched(&[("/mnt/nfs/home", None)]), ["/mnt/nfs"]);
}

#[test]
fn a_mount_that_is_covered_is_not_marked() {
    let plan = plan(&Mounts::parse(TABLE), &roots(&[("/dev", None)]));
    let devices: Vec<_> = plan.targets.iter().map(|target| target.device).collect();
    assert_eq!(devices, [(0, 6), (0, 28)]);
}

#[test]
fn no_mounts_and_circles_of_mounts_hold_nothing() {
    assert_eq!(Mounts::parse(b"").at(b"/x"), None);
    let circle = b"1 2 0:1 / / rw - a a rw\n2 1 0:2 / / rw - b b rw\n";
    assert_eq!(Mounts::parse(circle).at(b"/x"), None);
    // The root of a container's namespace is mounted on what is not shown.
    let own = b"5 5 0:1 / / rw - a a rw\n6 5 0:2 / /x rw - b b rw\n";
    assert_eq!(Mounts::parse(own).at(b"/x/y").unwrap().id, 6);
}
