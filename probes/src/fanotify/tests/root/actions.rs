//! Each operation, and the event it becomes.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use super::*;
use crate::event::SourceKind;

/// Cases over the file systems that encode handles differently.
macro_rules! everywhere {
    ($($case:ident),+ $(,)?) => {
        mod on_disk {
            $(#[test] fn $case() { super::$case("/tmp", crate::fanotify::Fanotify::new()) })+
        }
        mod on_tmpfs {
            $(#[test] fn $case() { super::$case("/dev/shm", crate::fanotify::Fanotify::new()) })+
        }
        mod by_names {
            $(#[test] fn $case() { super::$case("/tmp", crate::fanotify::Fanotify::by_names()) })+
        }
    };
}

everywhere!(
    a_created_file_is_a_create_and_nothing_more,
    what_was_written_is_a_close_write,
    an_append_is_a_close_write,
    a_file_opened_for_writing_and_left_alone_is_not_changed,
    what_is_written_through_a_mapping_is_a_close_write,
    an_unlinked_file_is_an_unlink,
    a_directory_is_made_and_removed,
    a_rename_within_the_watch_has_both_names,
    a_rename_into_the_watch_has_both_names,
    a_rename_out_of_the_watch_has_both_names,
    a_second_name_is_a_link_and_not_a_create,
    a_symbolic_link_has_its_text,
    a_change_of_mode_is_a_chmod,
    a_change_of_owner_is_a_chown,
    a_change_of_times_is_an_attributes,
    a_change_of_a_directory_s_mode_names_the_directory,
    a_truncation_by_path_is_a_modify,
    a_truncation_by_descriptor_is_a_close_write,
    nothing_of_an_unwatched_directory_is_reported,
    the_process_that_did_it_is_named,
    the_object_is_as_stat_shows_it,
    a_write_that_is_not_closed_is_a_modify,
    opens_and_reads_are_reported_when_asked_for_only,
    a_device_that_is_written_to_does_not_change,
);

struct Case {
    scene: Scene,
    watching: Watching,
}

impl Case {
    fn new(file_system: &str, source: Fanotify) -> Self {
        let scene = Scene::new(file_system);
        let watching = Watching::start(source, &below(&[&scene.watched()]));
        Self { scene, watching }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scene.watched().join(name)
    }

    /// A file with content whose events have been seen.
    fn old_file(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        write(&path);
        self.watching.take();
        path
    }

    fn done(&self) -> Vec<Done> {
        self.watching.done(&self.scene.watched())
    }

    /// The one event there is.
    fn only(&self) -> RawEvent {
        let mut events = self.watching.take();
        assert_eq!(events.len(), 1, "{events:#?}");
        events.remove(0)
    }
}

fn a_created_file_is_a_create_and_nothing_more(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    fs::File::create(case.path("a")).unwrap();
    assert_eq!(case.done(), [did(FileAction::Create, "a")]);
}

fn what_was_written_is_a_close_write(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    run("for piece in 1 2 3 4 5 6 7 8 9; do printf $piece; done > a", &case.scene.watched());
    assert_eq!(case.done(), [did(FileAction::Create, "a"), did(FileAction::CloseWrite, "a")]);
}

fn an_append_is_a_close_write(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    case.old_file("a");
    run("printf more >> a", &case.scene.watched());
    assert_eq!(case.done(), [did(FileAction::CloseWrite, "a")]);
}

fn a_file_opened_for_writing_and_left_alone_is_not_changed(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    case.old_file("a");
    run(": >> a", &case.scene.watched());
    assert_eq!(case.done(), []);
}

fn what_is_written_through_a_mapping_is_a_close_write(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let path = case.old_file("a");
    // Such a write shows in the file's time only, which has steps of 4 ms.
    set_old_times(&path);
    case.watching.take();
    write_by_mapping(&path);
    assert_eq!(case.done(), [did(FileAction::CloseWrite, "a")]);
}

fn an_unlinked_file_is_an_unlink(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let path = case.old_file("a");
    let real = fs::metadata(&path).unwrap();
    fs::remove_file(path).unwrap();
    let event = case.only();
    assert_eq!(Done::of(&event, &case.scene.watched()), did(FileAction::Unlink, "a"));
    if case.watching.health().reason.is_empty() {
        let object = file(&event).object.unwrap();
        assert_eq!((object.device, object.inode), (Some(real.dev()), Some(real.ino())));
    }
}

fn a_directory_is_made_and_removed(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    fs::create_dir(case.path("d")).unwrap();
    assert_eq!(case.done(), [did(FileAction::Mkdir, "d")]);
    fs::remove_dir(case.path("d")).unwrap();
    assert_eq!(case.done(), [did(FileAction::Rmdir, "d")]);
}

// By processes of their own: halves of renames are paired by process.

fn a_rename_within_the_watch_has_both_names(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    case.old_file("a");
    run("exec mv a b", &case.scene.watched());
    assert_eq!(case.done(), [did_to(FileAction::Rename, "a", "b")]);
}

fn a_rename_into_the_watch_has_both_names(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let from = case.scene.other().join("a");
    write(&from);
    run("exec mv out/a in/b", case.scene.base.path());
    assert_eq!(case.done(), [did_to(FileAction::Rename, from.to_str().unwrap(), "b")]);
}

fn a_rename_out_of_the_watch_has_both_names(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    case.old_file("a");
    let to = case.scene.other().join("b");
    run("exec mv in/a out/b", case.scene.base.path());
    assert_eq!(case.done(), [did_to(FileAction::Rename, "a", to.to_str().unwrap())]);
}

fn a_second_name_is_a_link_and_not_a_create(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    fs::hard_link(case.old_file("a"), case.path("b")).unwrap();
    let older = case.path("a").display().to_string();
    let event = case.only();
    assert_eq!(file(&event).dest_path.as_deref(), Some(older.as_bytes()));
    assert_eq!(Done::of(&event, &case.scene.watched()), did_to(FileAction::Link, "b", "a"));
    assert_eq!(file(&event).object.unwrap().nlink, Some(2));
}

fn a_symbolic_link_has_its_text(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    symlink("../some/where", case.path("s")).unwrap();
    let event = case.only();
    assert_eq!(file(&event).action, FileAction::Symlink);
    assert_eq!(file(&event).dest_path.as_deref(), Some(&b"../some/where"[..]));
}

fn a_change_of_mode_is_a_chmod(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    fs::set_permissions(case.old_file("a"), Permissions::from_mode(0o4711)).unwrap();
    let event = case.only();
    assert_eq!(file(&event).action, FileAction::Chmod);
    assert_eq!(file(&event).object.unwrap().mode, Some(0o104_711));
}

fn a_change_of_owner_is_a_chown(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let path = case.old_file("a");
    fs::set_permissions(&path, Permissions::from_mode(0o4711)).unwrap();
    case.watching.take();
    // This clears the set-user-id bit too, which is not a chmod.
    chown(path, Some(12), Some(34)).unwrap();
    let event = case.only();
    assert_eq!(file(&event).action, FileAction::Chown);
    let object = file(&event).object.unwrap();
    assert_eq!((object.uid, object.gid, object.mode), (Some(12), Some(34), Some(0o100_711)));
}

fn a_change_of_times_is_an_attributes(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let path = case.old_file("a");
    set_old_times(&path);
    let event = case.only();
    assert_eq!(file(&event).action, FileAction::Attributes);
    assert_eq!(file(&event).object.unwrap().mtime, Some(1_000_000_000));
}

fn a_change_of_a_directory_s_mode_names_the_directory(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    fs::create_dir(case.path("d")).unwrap();
    case.watching.take();
    fs::set_permissions(case.path("d"), Permissions::from_mode(0o711)).unwrap();
    let event = case.only();
    let done = Done::of(&event, &case.scene.watched());
    assert!(
        done == did(FileAction::Chmod, "d") || done == did(FileAction::Attributes, "d"),
        "{done:?}"
    );
    assert_eq!(file(&event).is_dir, Some(true));
    assert_eq!(file(&event).object.unwrap().mode, Some(0o40_711));
}

fn a_truncation_by_path_is_a_modify(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let path = case.old_file("a");
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name ends with NUL.
    assert_eq!(unsafe { libc::truncate(path.as_ptr(), 3) }, 0);
    let event = case.only();
    assert_eq!(file(&event).action, FileAction::Modify);
    assert_eq!(file(&event).object.unwrap().size, Some(3));
}

fn a_truncation_by_descriptor_is_a_close_write(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    case.old_file("a");
    run("exec truncate -s 3 a", &case.scene.watched());
    let event = case.only();
    assert_eq!(file(&event).action, FileAction::CloseWrite);
    assert_eq!(file(&event).object.unwrap().size, Some(3));
}

fn nothing_of_an_unwatched_directory_is_reported(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let before = case.watching.health().filtered_kernel;
    let other = case.scene.other();
    run("echo x > a; mv a b; ln b c; chmod 700 c; rm b c; mkdir d; rmdir d; ln -s x y", &other);
    assert_eq!(case.done(), []);
    assert!(case.watching.health().filtered_kernel >= before + 8);
}

fn the_process_that_did_it_is_named(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let before = crate::clock::boot_now_ns();
    let pid = run("exec mkdir d", &case.scene.watched());
    let event = case.only();
    let after = crate::clock::boot_now_ns();
    assert_eq!(event.task.pid, pid);
    assert_eq!(event.source, SourceKind::Fanotify);
    assert!((before..=after).contains(&event.time_ns), "{before} {} {after}", event.time_ns);
}

fn the_object_is_as_stat_shows_it(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let path = case.path("a");
    write(&path);
    let events = case.watching.take();
    let object = file(events.last().unwrap()).object.unwrap();
    let real = fs::metadata(&path).unwrap();
    assert_eq!(object.device, Some(real.dev()));
    assert_eq!(object.inode, Some(real.ino()));
    assert_eq!(object.mode, Some(real.mode()));
    assert_eq!((object.uid, object.gid), (Some(real.uid()), Some(real.gid())));
    assert_eq!((object.size, object.nlink), (Some(7), Some(1)));
    assert_eq!(object.atime, Some(real.atime()));
    assert_eq!(object.mtime, Some(real.mtime()));
    assert_eq!(object.ctime, Some(real.ctime()));
    let born = real.created().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(object.btime, i64::try_from(born.as_secs()).ok());
}

fn a_write_that_is_not_closed_is_a_modify(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    case.old_file("a");
    let script = "exec 3>>a; for line in 1 2 3 4 5 6 7 8 9; do echo $line >&3; done; echo; read _";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .current_dir(case.scene.watched())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut written = [0];
    child.stdout.take().unwrap().read_exact(&mut written).unwrap();
    assert_eq!(case.done(), [did(FileAction::Modify, "a")]);
    // The close that follows belongs to a change, even though nothing was written since.
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(case.done(), [did(FileAction::CloseWrite, "a")]);
}

fn opens_and_reads_are_reported_when_asked_for_only(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    let path = case.old_file("a");
    fs::read(&path).unwrap();
    assert_eq!(case.done(), []);
    let watched = case.scene.watched();
    let asked = SourceConfig { file_access: true, ..below(&[&watched]) };
    case.watching.running.reconfigure(&asked).unwrap();
    fs::read(&path).unwrap();
    assert_eq!(case.done(), [did(FileAction::Open, "a"), did(FileAction::Access, "a")]);
    case.watching.running.reconfigure(&below(&[&watched])).unwrap();
    fs::read(&path).unwrap();
    assert_eq!(case.done(), []);
}

fn a_device_that_is_written_to_does_not_change(file_system: &str, source: Fanotify) {
    let case = Case::new(file_system, source);
    run("mknod null c 1 3", &case.scene.watched());
    assert_eq!(case.done(), [did(FileAction::Create, "null")]);
    run("echo gone > null", &case.scene.watched());
    assert_eq!(case.done(), []);
}
