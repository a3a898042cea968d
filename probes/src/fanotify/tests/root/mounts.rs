//! File systems that come, go, and are seen from several places.
//!
//! What has to mount does so in a mount namespace of its thread's own, which the reader started from
//! there shares.

use std::fs;

use super::*;
use FileAction::{Chmod, CloseWrite, Create, Mkdir, Rename, Rmdir, Unlink};

fn umount(path: &Path) {
    assert!(Command::new("umount").arg(path).status().unwrap().success(), "{path:?}");
}

fn marks(watching: &Watching) -> u32 {
    watching.health().probes_attached
}

#[test]
fn a_file_system_mounted_below_a_root_is_watched_until_it_is_unmounted() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    let point = watched.join("point");
    fs::create_dir(&point).unwrap();
    let watching = Watching::on(&watched);
    assert_eq!(marks(&watching), 1);
    for round in 0..3 {
        mount(&["-t", "tmpfs", "none", point.to_str().unwrap()]);
        wait_for("the mark", || marks(&watching) == 2);
        watching.take();
        fs::create_dir(point.join("d")).unwrap();
        write(&point.join("d/file"));
        let expected =
            [did(Mkdir, "point/d"), did(Create, "point/d/file"), did(CloseWrite, "point/d/file")];
        assert_eq!(watching.done(&watched), expected, "round {round}");
        // We do not keep it busy.
        umount(&point);
        wait_for("the mark to go", || marks(&watching) == 1);
    }
}

#[test]
fn a_file_system_that_takes_the_place_of_another_is_watched_instead() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    mount(&["-t", "tmpfs", "none", watched.to_str().unwrap()]);
    let watching = Watching::on(&watched);
    run("umount in && mount -t tmpfs none in", scene.base.path());
    // How long it takes to notice is not known; that it stays noticed is what counts.
    let mut round = 0;
    let mut seen = || {
        round += 1;
        let name = format!("round-{round}");
        fs::create_dir(watched.join(&name)).unwrap();
        watching.done(&watched) == [did(Mkdir, &name)]
    };
    wait_for("an event", &mut seen);
    assert!(seen());
    mount(&["-t", "tmpfs", "none", scene.other().to_str().unwrap()]);
    let other_mount = Instant::now();
    wait_for("the mounts to be looked at", || {
        assert!(seen());
        other_mount.elapsed() > Duration::from_millis(300)
    });
}

#[test]
fn what_is_covered_by_a_mount_is_not_taken_for_what_is_mounted_there() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    fs::create_dir(watched.join("point")).unwrap();
    let covered = fs::File::open(watched.join("point")).unwrap();
    mount(&["-t", "tmpfs", "none", watched.join("point").to_str().unwrap()]);
    let watching = Watching::on(&watched);
    let below = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&covered));
    write(&Path::new(&below).join("covered"));
    assert!(Path::new(&below).join("covered").is_file());
    write(&watched.join("point/mounted"));
    let expected = [did(Create, "point/mounted"), did(CloseWrite, "point/mounted")];
    assert_eq!(watching.done(&watched), expected);
    assert_eq!(watching.health().lost_missed, 0);
}

#[test]
fn what_is_done_through_a_bind_mount_is_told_under_the_path_of_the_whole() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let (watched, other) = (scene.watched(), scene.other());
    mount(&["--bind", watched.to_str().unwrap(), other.to_str().unwrap()]);
    let watching = Watching::on(&watched);
    fs::create_dir(other.join("d")).unwrap();
    assert_eq!(watching.done(&watched), [did(Mkdir, "d")]);
}

#[test]
fn a_root_on_a_bind_mount_is_watched_under_its_own_path() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let (whole, bound) = (scene.watched(), scene.other());
    mount(&["--bind", whole.to_str().unwrap(), bound.to_str().unwrap()]);
    let watching = Watching::on(&bound);
    fs::create_dir(whole.join("by-the-whole")).unwrap();
    fs::create_dir(bound.join("by-the-bind")).unwrap();
    fs::create_dir(bound.join("by-the-bind/inner")).unwrap();
    assert_eq!(
        watching.done(&bound),
        [did(Mkdir, "by-the-whole"), did(Mkdir, "by-the-bind"), did(Mkdir, "by-the-bind/inner")]
    );
    // The end that is not watched is told by the same mount.
    let watching = Watching::on(&bound.join("by-the-bind"));
    run("exec mv by-the-bind/inner moved", &whole);
    assert_eq!(watching.done(&bound), [did_to(Rename, "by-the-bind/inner", "moved")]);
}

#[test]
fn a_file_that_is_mounted_by_itself_is_watched_where_it_is() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let (watched, other) = (scene.watched(), scene.other());
    fs::File::create(watched.join("resolv.conf")).unwrap();
    fs::File::create(other.join("real")).unwrap();
    let (real, shown) = (other.join("real"), watched.join("resolv.conf"));
    mount(&["--bind", real.to_str().unwrap(), shown.to_str().unwrap()]);
    let watching = Watching::on(&watched);
    write(&shown);
    fs::File::create(other.join("neighbour")).unwrap();
    assert_eq!(watching.done(&watched), [did(CloseWrite, "resolv.conf")]);
}

#[test]
fn what_another_mount_namespace_does_is_told_under_the_hosts_path() {
    let scene = Scene::new("/tmp");
    let watched = scene.watched();
    fs::create_dir(watched.join("volume")).unwrap();
    let watching = Watching::on(&watched);
    let script = "exec unshare -m sh -c 'mount --bind in/volume out && cd out && mkdir d'";
    run(script, scene.base.path());
    assert_eq!(watching.done(&watched), [did(Mkdir, "volume/d")]);
}

#[test]
fn only_a_part_of_a_file_system_may_be_mounted() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let base = scene.base.path();
    let (image, point) = (scene.other(), scene.watched());
    mount(&["-t", "tmpfs", "none", image.to_str().unwrap()]);
    fs::create_dir_all(image.join("part/of/it")).unwrap();
    fs::create_dir_all(image.join("rest/of/it")).unwrap();
    let rest = fs::File::open(image.join("rest/of")).unwrap();
    mount(&["--bind", image.join("part").to_str().unwrap(), point.to_str().unwrap()]);
    // The whole goes out of sight; the descriptor keeps a way to the other part.
    assert!(
        Command::new("umount").args(["-l", image.to_str().unwrap()]).status().unwrap().success()
    );
    let watching = Watching::on(base);
    write(&point.join("of/it/seen"));
    let hidden = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&rest));
    write(&Path::new(&hidden).join("it/hidden"));
    let expected = [did(Create, "in/of/it/seen"), did(CloseWrite, "in/of/it/seen")];
    assert_eq!(watching.done(base), expected);
}

/// An overlay at `in`, with a directory in its lower layer.
fn overlay(scene: &Scene) -> PathBuf {
    let other = scene.other();
    mount(&["-t", "tmpfs", "none", other.to_str().unwrap()]);
    for layer in ["lower/old", "upper", "work"] {
        fs::create_dir_all(other.join(layer)).unwrap();
    }
    write(&other.join("lower/old/file"));
    let layers =
        format!("lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work", other.to_str().unwrap());
    let watched = scene.watched();
    mount(&["-t", "overlay", "overlay", "-o", &layers, watched.to_str().unwrap()]);
    watched
}

#[test]
fn an_overlay_is_watched_directory_by_directory_and_health_says_so() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let watched = overlay(&scene);
    let watching = Watching::on(&watched);
    let health = watching.health();
    assert!(health.reason.contains("(overlay): each directory is marked"), "{health:?}");
    assert_eq!(health.probes_attached, 2);

    write(&watched.join("old/new"));
    let expected = [did(Create, "old/new"), did(CloseWrite, "old/new")];
    assert_eq!(watching.done(&watched), expected);
    run("chmod 600 old/new", &watched);
    assert_eq!(watching.done(&watched), [did(Chmod, "old/new")]);
    fs::create_dir(watched.join("made")).unwrap();
    assert_eq!(watching.done(&watched), [did(Mkdir, "made")]);
    assert_eq!(marks(&watching), 3);
    write(&watched.join("made/file"));
    let expected = [did(Create, "made/file"), did(CloseWrite, "made/file")];
    assert_eq!(watching.done(&watched), expected);
    let act = || {
        // The kernel merges the third rename with the first.
        for (from, to) in [("made", "moved"), ("moved", "made"), ("made", "moved")] {
            fs::rename(watched.join(from), watched.join(to)).unwrap();
        }
    };
    watching.while_it_hangs(|| fs::create_dir(watched.join("bait")).unwrap(), act);
    let expected = [did_to(Rename, "made", "moved"), did_to(Rename, "moved", "made")];
    assert_eq!(watching.done(&watched), expected);
    fs::remove_dir(watched.join("bait")).unwrap();
    assert_eq!(watching.done(&watched), [did(Rmdir, "bait")]);
    fs::rename(watched.join("moved/file"), watched.join("old/file2")).unwrap();
    let expected = [did_to(Rename, "moved/file", "old/file2")];
    assert_eq!(watching.done(&watched), expected);
    assert_eq!(watching.health().lost_missed, 0);
    let act = || fs::create_dir_all(watched.join("new/inner")).unwrap();
    watching.while_it_hangs(|| fs::create_dir(watched.join("bait")).unwrap(), act);
    assert_eq!(watching.done(&watched), [did(Mkdir, "new")]);
    assert_eq!(watching.health().lost_missed, 1);
    run("rmdir bait new/inner new", &watched);
    let expected = [did(Rmdir, "bait"), did(Rmdir, "new/inner"), did(Rmdir, "new")];
    assert_eq!(watching.done(&watched), expected);
    fs::remove_file(watched.join("old/file2")).unwrap();
    fs::remove_dir(watched.join("moved")).unwrap();
    assert_eq!(watching.done(&watched), [did(Unlink, "old/file2"), did(Rmdir, "moved")]);
    assert_eq!(marks(&watching), 2);
}

#[test]
fn a_watch_that_moves_on_loses_nothing_of_what_stays() {
    let scene = Scene::new("/tmp");
    let (watched, other) = (scene.watched(), scene.other());
    let watching = Watching::on(&watched);
    fs::create_dir(other.join("too-early")).unwrap();
    fs::create_dir(watched.join("one")).unwrap();
    watching.running.reconfigure(&below(&[&watched, &other, Path::new("/dev/shm")])).unwrap();
    assert_eq!(marks(&watching), 2);
    fs::create_dir(watched.join("two")).unwrap();
    fs::create_dir(other.join("three")).unwrap();
    watching.running.reconfigure(&below(&[&other])).unwrap();
    assert_eq!(marks(&watching), 1);
    fs::create_dir(watched.join("too-late")).unwrap();
    fs::create_dir(other.join("four")).unwrap();
    let base = scene.base.path();
    let done: Vec<Done> =
        watching.done(base).into_iter().filter(|done| !done.1.starts_with('/')).collect();
    let made = ["in/one", "in/two", "out/three", "out/four"].map(|name| did(Mkdir, name));
    assert_eq!(done, made);
}

#[test]
fn a_watch_of_nothing_is_quiet_and_can_be_given_something() {
    let scene = Scene::new("/tmp");
    let watching = Watching::start(Fanotify::new(), &config(Vec::new()));
    let health = watching.health();
    assert_eq!((health.probes_attached, health.reason.as_str()), (0, "no path is watched"));
    watching.running.reconfigure(&below(&[&scene.watched()])).unwrap();
    fs::create_dir(scene.watched().join("d")).unwrap();
    assert_eq!(watching.done(&scene.watched()), [did(Mkdir, "d")]);
    assert_eq!(watching.health().reason, "");
}

#[test]
fn what_cannot_be_watched_is_refused_and_what_was_in_force_stays() {
    unshare_mounts();
    let scene = Scene::new("/tmp");
    let point = scene.other();
    // A place where something would be mounted on demand, by us if we were to ask.
    let (asked, asks) = std::io::pipe().unwrap();
    let options = ["-t", "autofs", "-o", "fd=0,minproto=5,maxproto=5,indirect", "none"];
    let mut mount = Command::new("mount");
    assert!(mount.args(options).arg(&point).stdin(asks).status().unwrap().success());

    let refused = Watching::try_start(Fanotify::new(), &below(&[&point]));
    let error = refused.err().unwrap();
    assert!(error.why.contains(&format!("{} (autofs)", point.display())), "{error}");
    let watching = Watching::on(&scene.watched());
    watching.running.reconfigure(&below(&[&point])).unwrap_err();
    fs::create_dir(scene.watched().join("d")).unwrap();
    assert_eq!(watching.done(&scene.watched()), [did(Mkdir, "d")]);
    // Where something else can be watched, that is, and the rest is named.
    watching.running.reconfigure(&below(&[&point, &scene.watched()])).unwrap();
    let health = watching.health();
    assert_eq!((health.probes_attached, health.probes_failed), (1, 1));
    assert!(health.last_error.contains("(autofs)"), "{health:?}");
    drop(watching);
    umount(&point);
    drop(asked);
}

#[test]
fn what_is_left_out_below_a_root_is_named() {
    let watching = Watching::on(Path::new("/"));
    let health = watching.health();
    assert!(health.reason.contains("/proc (proc)"), "{health:?}");
    assert!(health.probes_attached >= 2, "{health:?}");
}

#[test]
fn a_stopped_reader_reports_and_holds_nothing_more() {
    let scene = Scene::new("/tmp");
    let mut watching = Watching::on(&scene.watched());
    watching.running.stop();
    fs::create_dir(scene.watched().join("d")).unwrap();
    assert!(!watching.running.flush(Duration::from_millis(10)));
    assert_eq!(watching.collector.events.lock().len(), 0);
    watching.running.stop();
}
