//! One workload in a watched directory, told by fanotify and by audit's directory rules: row by row.

use std::path::Path;

use super::files::Below;
use super::*;
use crate::event::File;
use crate::fanotify::Fanotify;

/// A row, as far as both can tell it: what was done, to which path, to which other one, by whom, to
/// which inode, and whether that is a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    step: usize,
    action: String,
    path: String,
    dest: Option<String>,
    pid: u32,
    inode: Option<u64>,
    is_dir: Option<bool>,
}

/// What is done, one process each, so that a row says by its pid which step it is of.
const STEPS: [&str; 17] = [
    "open(F, '>empty') && close(F)",
    "open(F, '>f') && (print F 'one') && close(F)",
    "open(F, '>>f') && (print F 'two') && close(F)",
    "chmod(0600, 'f')",
    "chown(1, 1, 'f')",
    "utime(1, 1, 'f')",
    "truncate('f', 1)",
    "link('f', 'hard')",
    "symlink('f', 'soft')",
    "rename('f', 'g')",
    "rename('g', '../beside/out')",
    "rename('../beside/out', 'in')",
    "unlink('hard')",
    "unlink('soft')",
    "unlink('in')",
    "mkdir('d')",
    "rmdir('d')",
];

fn rows(events: &[RawEvent], base: &Path, pids: &[u32]) -> Vec<Row> {
    let short = |path: &Option<crate::event::Bytes>| {
        let path = String::from_utf8_lossy(path.as_deref()?).into_owned();
        Some(path.replace(base.to_str().unwrap(), ""))
    };
    let mut rows: Vec<Row> = events
        .iter()
        .filter_map(|event| {
            let Body::File(file) = &event.body else { return None };
            let File { action, path, dest_path, object, is_dir, .. } = &**file;
            let step = pids.iter().position(|&pid| pid == event.task.pid)?;
            Some(Row {
                step,
                action: format!("{action:?}"),
                path: short(path).unwrap_or_default(),
                dest: short(dest_path),
                pid: event.task.pid,
                inode: object.and_then(|object| object.inode),
                is_dir: *is_dir,
            })
        })
        .collect();
    rows.sort();
    rows
}

/// What fanotify says of a step that audit has a better word for: it has no mark for a truncation,
/// which it reports as it does a write.
const BY_NATURE: [(&str, &str, &str); 1] = [("truncate('f', 1)", "Modify", "Truncate")];

#[test]
fn fanotify_and_audit_tell_the_same_of_a_watched_directory() {
    let _alone = audit_alone();
    let base = std::env::temp_dir().join(format!("rows-{}", std::process::id()));
    let (dir, beside) = (base.join("watched"), base.join("beside"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::create_dir_all(&beside).unwrap();
    let mut config = config(&[Concern::File]);
    config.paths = Arc::new(Below(dir.clone()));
    let sources: [Box<dyn Source>; 2] =
        [Box::new(Fanotify::new()), Box::new(AuditSource::look(&Host::read()))];
    let started = sources.map(|source| testkit::start(source, &config));
    let mut pids = Vec::new();
    for step in STEPS {
        let script = format!("({step}) or die $!; select(undef, undef, undef, 0.1)");
        let mut child =
            Command::new("/usr/bin/perl").args(["-e", &script]).current_dir(&dir).spawn().unwrap();
        pids.push(child.id());
        assert!(child.wait().unwrap().success(), "{step}");
    }
    let told: Vec<Vec<Row>> = started
        .iter()
        .map(|(running, kept)| {
            assert!(running.flush(DEADLINE));
            rows(&kept.all(), &base, &pids)
        })
        .collect();
    std::fs::remove_dir_all(&base).unwrap();
    let mut wrong = Vec::new();
    for (step, code) in STEPS.iter().enumerate() {
        let of = |rows: &[Row]| -> Vec<Row> {
            rows.iter().filter(|row| row.step == step).cloned().collect()
        };
        let (mut fanotify, audit) = (of(&told[0]), of(&told[1]));
        let mut verdict = "agree";
        for (_, theirs, ours) in BY_NATURE.iter().filter(|(of, _, _)| of == code) {
            for row in fanotify.iter_mut().filter(|row| row.action == *theirs) {
                row.action = (*ours).to_owned();
                verdict = "agree but for the name of the action, by nature";
            }
        }
        if fanotify != audit || audit.is_empty() {
            verdict = "WRONG";
            wrong.push(format!("{code}: fanotify {fanotify:#?} audit {audit:#?}"));
        }
        let actions: Vec<&str> = audit.iter().map(|row| row.action.as_str()).collect();
        println!("{code:<46} {:<20} {verdict}", actions.join(" "));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
