//! File events by audit's directory rules, as on a host without fanotify and without BPF.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::event::{File, FileAction};
use crate::source::{PathFilter, Root};

/// Wants everything below a directory.
pub struct Below(pub PathBuf);

impl PathFilter for Below {
    fn matches(&self, path: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt;
        path.starts_with(self.0.as_os_str().as_bytes())
    }

    fn roots(&self) -> Vec<Root> {
        vec![Root { path: self.0.clone(), depth: None }]
    }
}

struct Watched {
    running: Box<dyn Running>,
    kept: Arc<Kept>,
    dir: PathBuf,
    beside: PathBuf,
}

impl Watched {
    fn start(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("audit-{name}-{}", std::process::id()));
        let (dir, beside) = (base.join("watched"), base.join("beside"));
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(&beside).unwrap();
        let mut config = config(&[Concern::File]);
        config.paths = Arc::new(Below(dir.clone()));
        let (running, kept) = super::start(&config);
        Self { running, kept, dir, beside }
    }

    /// Runs a shell script in the watched directory, and gives the events it made.
    fn run(&self, script: &str) -> Vec<(FileAction, String, String)> {
        let status = Command::new("/bin/sh").args(["-ec", script]).current_dir(&self.dir).status();
        assert!(status.unwrap().success(), "{script}");
        assert!(self.running.flush(DEADLINE));
        self.files().into_iter().map(|(_, file)| self.short(&file)).collect()
    }

    fn files(&self) -> Vec<(RawEvent, File)> {
        let file = |event: RawEvent| match &event.body {
            Body::File(file) => Some((event.clone(), (**file).clone())),
            _ => None,
        };
        self.kept.all().into_iter().filter_map(file).collect()
    }

    fn short(&self, file: &File) -> (FileAction, String, String) {
        let short = |path: &Option<crate::event::Bytes>| {
            let path = String::from_utf8_lossy(path.as_deref().unwrap_or(b"-")).into_owned();
            let base = self.dir.parent().unwrap().to_str().unwrap();
            path.replace(base, "").trim_start_matches("/watched").to_owned()
        };
        (file.action, short(&file.path), short(&file.dest_path))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.running.stop();
        let _ = fs::remove_dir_all(self.dir.parent().unwrap_or(Path::new("/nonexistent")));
    }
}

fn told(events: &[(FileAction, &str, &str)]) -> Vec<(FileAction, String, String)> {
    events.iter().map(|(action, path, dest)| (*action, (*path).into(), (*dest).into())).collect()
}

#[test]
fn names_that_come_go_and_move_are_told_with_who_did_it() {
    let _alone = audit_alone();
    let watched = Watched::start("names");
    let script = "mkdir d; ln -s target l; mv l d/m; rm d/m; rmdir d; mv ../beside ../watched/in";
    let events = watched.run(script);
    let expected = told(&[
        (FileAction::Mkdir, "/d", "-"),
        (FileAction::Symlink, "/l", "target"),
        (FileAction::Rename, "/l", "/d/m"),
        (FileAction::Unlink, "/d/m", "-"),
        (FileAction::Rmdir, "/d", "-"),
        (FileAction::Rename, "/beside", "/in"),
    ]);
    assert_eq!(events, expected);
    for (event, file) in watched.files() {
        assert_eq!(event.source, SourceKind::Audit);
        let exe = event.task.exe.unwrap();
        assert!(exe.starts_with(b"/"), "{file:?}");
        assert_eq!(event.task.creds.map(|creds| creds.euid), Some(0));
    }
    assert!(!watched.beside.exists());
}

#[test]
fn what_is_written_is_told_once_its_writer_closed_it() {
    let _alone = audit_alone();
    let watched = Watched::start("writes");
    // By its name, since the kernel records nothing of an inode whose times are set by descriptor.
    let times = "perl -e 'utime(1, 1, \"f\") or die'";
    let script = "echo 1 > f; sleep 0.1; echo 2 >> f; : > empty; chmod 600 f";
    let events = watched.run(&format!("{script}; {times}"));
    let has = |action, path: &str| {
        events.iter().filter(|(is, of, _)| *is == action && of == path).count()
    };
    assert_eq!(has(FileAction::Create, "/f"), 1, "{events:#?}");
    assert_eq!(has(FileAction::Chmod, "/f"), 1, "{events:#?}");
    assert_eq!(has(FileAction::Attributes, "/f"), 1, "{events:#?}");
    // Setting the time of modification back does not hide that it was modified.
    assert_eq!(has(FileAction::CloseWrite, "/f"), 2, "{events:#?}");
    assert_eq!(has(FileAction::Create, "/empty"), 1);
    assert_eq!(has(FileAction::CloseWrite, "/empty"), 0);
}

#[test]
fn paths_are_the_hosts_whatever_the_process_called_them() {
    let _alone = audit_alone();
    let watched = Watched::start("paths");
    std::os::unix::fs::symlink(&watched.dir, watched.beside.join("way")).unwrap();
    let script = "cd ../beside/way; mkdir ../beside/way/a; mkdir ./b; cd b; mkdir ../c";
    let events = watched.run(script);
    let paths: Vec<_> = events.iter().map(|(_, path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/a", "/b", "/c"]);
}

#[test]
fn what_happens_beside_the_watched_directory_is_not_told() {
    let _alone = audit_alone();
    let watched = Watched::start("beside");
    assert_eq!(watched.run("echo 1 > ../beside/f; cat ../beside/f; rm ../beside/f"), []);
    let rules = auditctl().1;
    assert!(rules.contains(watched.dir.to_str().unwrap()), "{rules}");
}

#[test]
fn a_directory_that_comes_later_is_watched_once_it_is_there() {
    let _alone = audit_alone();
    let watched = Watched::start("later");
    let later = watched.dir.join("later");
    let mut config = config(&[Concern::File]);
    config.paths = Arc::new(Below(later.clone()));
    watched.running.reconfigure(&config).unwrap();
    let health = |kind| health(watched.running.as_ref(), kind);
    let missing = health(EventKind::File);
    assert!(missing.probes_failed > 0 && missing.last_error.contains("later"), "{missing:?}");
    fs::create_dir(&later).unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while health(EventKind::File).probes_failed > 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    let events = watched.run("mkdir later/x; mkdir other");
    assert_eq!(events, told(&[(FileAction::Mkdir, "/later/x", "-")]));
}
