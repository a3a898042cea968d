//! On the live kernel, alone: there is one audit subsystem.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use super::super::*;
use crate::event::{Body, Concern, Exec, Exit, RawEvent};
use crate::testkit::{
    self, DEADLINE, Kept, audit_alone, auditctl, burst, config, execs_of_children, health, spawn,
};

mod bursts;
mod compare;
mod files;
mod others;
mod rows;

fn start(config: &SourceConfig) -> (Box<dyn Running>, Arc<Kept>) {
    testkit::start(Box::new(AuditSource::look(&Host::read())), config)
}

/// Settings as they were, whatever a test or a daemon did to them.
struct PutBack(status::Status);

impl PutBack {
    fn new() -> Self {
        Self(status())
    }
}

impl Drop for PutBack {
    fn drop(&mut self) {
        use status::mask::{BACKLOG_LIMIT, BACKLOG_WAIT_TIME, ENABLED, RATE_LIMIT};
        let mask = ENABLED | BACKLOG_LIMIT | BACKLOG_WAIT_TIME | RATE_LIMIT;
        Control::open().unwrap().set(&self.0, mask).unwrap();
    }
}

fn status() -> status::Status {
    Control::open().unwrap().status().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn exec(event: &RawEvent) -> Option<Exec> {
    match &event.body {
        Body::Exec(exec) => Some((**exec).clone()),
        _ => None,
    }
}

fn exit(event: &RawEvent) -> Option<Exit> {
    match &event.body {
        Body::Exit(exit) => Some(exit.clone()),
        _ => None,
    }
}

#[test]
fn everything_is_as_it_was_afterwards() {
    let _alone = audit_alone();
    let before = auditctl();
    let (mut running, _kept) = start(&config(&Concern::ALL));
    let during = auditctl();
    assert_ne!(during, before);
    running.stop();
    assert_eq!(auditctl(), before);
}

#[test]
fn an_exec_is_one_event_with_what_audit_the_connector_and_proc_say() {
    let _alone = audit_alone();
    let (running, kept) = start(&config(&[Concern::Process]));
    let mut child = Command::new("/bin/sleep").arg("1000").current_dir("/usr").spawn().unwrap();
    let pid = child.id();
    let (event, exec) = kept.of(pid, |event| exec(event).map(|exec| (event.clone(), exec)));
    assert_eq!(event.source, SourceKind::Audit);
    assert_eq!(exec.args.bytes.as_deref(), Some(&b"/bin/sleep\x001000\0"[..]));
    assert_eq!(exec.syscall, Some("execve"));
    let found = crate::proc::read(pid).unwrap();
    assert_eq!(event.task.start_ns, Some(found.start_ns));
    assert_eq!(exec.path, found.exe);
    assert_eq!(exec.cwd, found.cwd);
    assert_eq!(event.task.creds, found.creds);
    assert_eq!(event.task.cgroup, found.cgroup);
    assert_eq!(event.task.namespaces, found.namespaces);
    child.kill().unwrap();
    child.wait().unwrap();
    let exit = kept.of(pid, exit);
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
    drop(running);
}
