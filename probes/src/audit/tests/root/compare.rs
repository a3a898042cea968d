//! One workload seen by BPF, audit and the connector at once: what agrees, what a source cannot
//! know, and that nothing is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use super::*;
use crate::bpf::BpfSource;
use crate::connector::ConnectorSource;
use crate::event::{Bytes, Fork, Setid, Socket, SocketAction, TICK_NS};

/// A value of a column, as text; `None`: the source does not know.
type Columns = BTreeMap<&'static str, Option<String>>;

fn text(bytes: &Option<Bytes>) -> Option<String> {
    bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn show<T: std::fmt::Debug>(value: Option<T>) -> Option<String> {
    value.map(|value| format!("{value:?}"))
}

fn task(event: &RawEvent) -> Columns {
    let task = &event.task;
    Columns::from([
        ("pid", Some(task.pid.to_string())),
        ("parent", show(task.parent_pid)),
        ("start", show(task.start_ns.map(|start_ns| start_ns / TICK_NS))),
        ("ns_pid", show(task.ns_pid)),
        ("creds", show(task.creds)),
        ("auid", show(task.auid)),
        ("namespaces", show(task.namespaces)),
        ("cgroup", text(&task.cgroup)),
        ("comm", text(&task.comm)),
    ])
}

fn exec_columns(event: &RawEvent, exec: &Exec) -> Columns {
    let file = exec.file.unwrap_or_default();
    let mut columns = task(event);
    columns.extend([
        ("path", text(&exec.path)),
        ("raw_path", text(&exec.raw_path)),
        ("interpreter", text(&exec.interpreter)),
        ("args", text(&exec.args.bytes)),
        ("args_size", show(exec.args.size)),
        ("args_count", show(exec.args.count)),
        ("env", text(&exec.env.bytes)),
        ("env_size", show(exec.env.size)),
        ("env_count", show(exec.env.count)),
        ("cwd", text(&exec.cwd)),
        ("tty", text(&exec.tty)),
        ("fileless", show(exec.fileless)),
        ("syscall", show(exec.syscall)),
        ("inode", show(file.inode)),
        ("device", show(file.device)),
        ("mode", show(file.mode)),
        ("owner", show(file.uid.zip(file.gid))),
        ("size", show(file.size)),
        ("mtime", show(file.mtime)),
        ("ctime", show(file.ctime)),
    ]);
    columns
}

fn socket_columns(event: &RawEvent, socket: &Socket) -> Columns {
    let mut columns = task(event);
    columns.extend([
        ("action", show(Some(socket.action))),
        ("syscall", show(socket.syscall)),
        ("fd", show(socket.fd)),
        ("family", show(socket.family)),
        ("type", show(socket.socket_type)),
        ("protocol", show(socket.protocol)),
        ("local", show(socket.local.as_ref())),
        ("remote", show(socket.remote.as_ref())),
        ("result", show(socket.result)),
    ]);
    columns
}

/// What one source told of some processes, by kind, in order.
fn told(events: &[RawEvent], pids: &BTreeSet<u32>) -> Told {
    let mut told = Told::new();
    for event in events {
        let mut about = event.task.pid;
        let columns = match &event.body {
            Body::Exec(exec) => exec_columns(event, exec),
            Body::Fork(Fork { child_pid, child_start_ns, child_ns_pid, .. }) => {
                about = *child_pid;
                Columns::from([
                    ("pid", Some(event.task.pid.to_string())),
                    ("child_start", show(child_start_ns.map(|start_ns| start_ns / TICK_NS))),
                    ("child_ns_pid", show(*child_ns_pid)),
                ])
            }
            Body::Exit(exit) => Columns::from([
                ("start", show(event.task.start_ns.map(|start_ns| start_ns / TICK_NS))),
                ("code", show(exit.code)),
                ("signal", show(exit.signal)),
                ("core_dumped", show(exit.core_dumped)),
            ]),
            Body::Setid(Setid { syscall, .. }) => {
                let mut columns = task(event);
                columns.insert("syscall", show(*syscall));
                columns
            }
            Body::Namespace(change) => {
                let mut columns = task(event);
                columns.extend([("syscall", show(change.syscall)), ("flags", show(change.flags))]);
                columns
            }
            // The end of a socket is no system call's.
            Body::Socket(socket) if socket.action == SocketAction::Close => continue,
            Body::Socket(socket) => socket_columns(event, socket),
            Body::Connection(_) | Body::File(_) => continue,
        };
        if pids.contains(&about) {
            told.entry((about, name(event))).or_default().push(columns);
        }
    }
    told
}

/// A socket call is of its own kind here, everything else of its event's.
fn name(event: &RawEvent) -> &'static str {
    match &event.body {
        Body::Socket(socket) => socket.action.as_str(),
        _ => event.kind().as_str(),
    }
}

type Told = BTreeMap<(u32, &'static str), Vec<Columns>>;

/// How often a column of another source was as in BPF's, unknown where BPF knows, or different.
#[derive(Default)]
struct Tally {
    agree: usize,
    unknown: usize,
    wrong: usize,
}

impl Tally {
    fn verdict(&self, by_nature: bool) -> String {
        match self {
            Self { wrong: 1.., .. } => "WRONG".to_owned(),
            Self { agree: 1.., unknown: 0, .. } => "agree".to_owned(),
            Self { agree: 1.., unknown, .. } => format!("agree, {unknown} unknown"),
            _ if by_nature => "absent by nature".to_owned(),
            _ => "ABSENT".to_owned(),
        }
    }
}

/// The columns of a kind, and what disagrees.
fn compare(bpf: &Told, other: &Told, kind: &str) -> (BTreeMap<&'static str, Tally>, Vec<String>) {
    let mut tallies: BTreeMap<&'static str, Tally> = BTreeMap::new();
    let mut wrong = Vec::new();
    let nothing = Vec::new();
    let keys: BTreeSet<_> = bpf.keys().chain(other.keys()).filter(|(_, of)| *of == kind).collect();
    for key in keys {
        let ours = bpf.get(key).unwrap_or(&nothing);
        let theirs = other.get(key).unwrap_or(&nothing);
        if theirs.len() != ours.len() {
            wrong.push(format!(
                "{key:?}: {} events, BPF has {}: {theirs:#?} {ours:#?}",
                theirs.len(),
                ours.len()
            ));
            continue;
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            for (&column, value) in theirs {
                let Some(bpf) = ours.get(column).cloned().flatten() else { continue };
                let tally = tallies.entry(column).or_default();
                match value {
                    Some(value) if *value == bpf => tally.agree += 1,
                    Some(value) => {
                        tally.wrong += 1;
                        wrong.push(format!("{key:?} {column}: {value}, BPF has {bpf}"));
                    }
                    None => tally.unknown += 1,
                }
            }
        }
    }
    (tallies, wrong)
}

const SOCKETS: &str = "
use Socket;
for my $family ([PF_INET, '127.0.0.1'], [PF_INET6, '::1']) {
  my ($pf, $text) = @$family;
  my $ip = Socket::inet_pton($pf, $text);
  my $name = sub { $pf == PF_INET ? pack_sockaddr_in($_[0], $ip) : pack_sockaddr_in6($_[0], $ip) };
  socket(my $l, $pf, SOCK_STREAM, 6); bind($l, $name->(0)); listen($l, 5);
  socket(my $c, $pf, SOCK_STREAM, 6); connect($c, getsockname($l));
  accept(my $a, $l);
  socket(my $r, $pf, SOCK_STREAM, 6); connect($r, $name->(1));
  socket(my $u, $pf, SOCK_DGRAM, 17); connect($u, $name->(53));
  select(undef, undef, undef, 0.3);
}
";

const SETUID: &str = "use POSIX; POSIX::setuid(65534); select(undef, undef, undef, 0.2); exit 7";

struct Seen {
    bpf: Told,
    audit: Told,
    connector: Told,
}

fn workload() -> BTreeSet<u32> {
    let dir = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let script = dir.join("script");
    std::fs::write(&script, "#!/bin/sh -e\nsleep 0.2\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Each lives long enough to be looked at.
    let wait = "sleep 0.2; ";
    let mut commands = vec![
        vec!["/bin/sh".to_owned(), "-c".into(), format!("{wait}exit 3")],
        vec!["/bin/sh".into(), "-c".into(), format!("{wait}kill -TERM $$")],
        vec!["/bin/sleep".into(), "0.2".into()],
        vec!["/bin/sh".into(), "-c".into(), "sleep 0.1; exec /bin/sleep 0.2".into()],
        vec!["/usr/bin/env".into(), "-i".into(), "/bin/sleep".into(), "0.2".into()],
        vec![
            "/usr/bin/setpriv".into(),
            "--reuid".into(),
            "65534".into(),
            "/bin/sleep".into(),
            "0.2".into(),
        ],
        // A change of ids that no exec follows, after which its name could be another's.
        vec!["/usr/bin/perl".into(), "-e".into(), SETUID.to_owned()],
        vec!["/usr/bin/unshare".into(), "-m".into(), "/bin/sleep".into(), "0.2".into()],
        vec!["/usr/bin/perl".into(), "-e".into(), SOCKETS.to_owned()],
    ];
    commands.push(vec![
        script.to_str().unwrap().to_owned(),
        "ünï \"quoted\"".into(),
        String::new(),
    ]);
    let mut pids = BTreeSet::new();
    for command in commands {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        pids.insert(child.id());
        child.wait().unwrap();
    }
    std::fs::remove_dir_all(dir).unwrap();
    pids
}

fn seen() -> Seen {
    let mut config = config(&[Concern::Process, Concern::Socket]);
    config.kinds.retain(|kind| *kind != EventKind::File);
    let sources: [Box<dyn Source>; 3] = [
        Box::new(BpfSource::new().unwrap()),
        Box::new(AuditSource::look(&Host::read())),
        Box::new(ConnectorSource),
    ];
    let started = sources.map(|source| testkit::start(source, &config));
    let pids = workload();
    let mut told = started.iter().map(|(running, kept)| {
        assert!(running.flush(DEADLINE));
        told(&kept.all(), &pids)
    });
    Seen { bpf: told.next().unwrap(), audit: told.next().unwrap(), connector: told.next().unwrap() }
}

/// What audit, and what the connector, cannot know of a kind, or not always.
fn by_nature(kind: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        // The connector has nothing of how a program was named.
        "exec" => (&[], &["raw_path", "interpreter", "syscall"]),
        // Which of the host's processes it was is told by its start; the rest is with its exec. The
        // own end is looked up, for which there is not always time.
        "connect" | "accept" | "bind" | "listen" => {
            let absent: &[&str] =
                &["namespaces", "ns_pid", "cgroup", "local", "type", "protocol", "family"];
            (absent, &[])
        }
        // It may have been waited for before it could be looked at.
        "exit" => (&["start"], &["start"]),
        "setid" => (&["namespaces", "ns_pid", "cgroup"], &["syscall", "creds"]),
        "namespace" => (&["namespaces"], &[]),
        _ => (&[], &[]),
    }
}

#[test]
fn audit_and_the_connector_say_what_bpf_says_or_that_they_do_not_know() {
    let _alone = audit_alone();
    let seen = seen();
    let mut differing = Vec::new();
    println!("{:<10} {:<12} {:<22} connector", "event", "column", "audit");
    for (name, kind) in [
        ("exec", EventKind::Exec),
        ("fork", EventKind::Fork),
        ("exit", EventKind::Exit),
        ("setid", EventKind::Setid),
        ("namespace", EventKind::Namespace),
        ("connect", EventKind::Socket),
        ("bind", EventKind::Socket),
        ("listen", EventKind::Socket),
        ("accept", EventKind::Socket),
    ] {
        let tell = |told: &Told| told.keys().any(|(_, of)| *of == name);
        assert!(tell(&seen.bpf), "BPF tells of no {name}");
        let (of_audit, of_connector) = by_nature(name);
        let mut table: BTreeMap<&str, [String; 2]> = BTreeMap::new();
        let sources = [
            ("audit", &seen.audit, of_audit, true),
            ("connector", &seen.connector, of_connector, ConnectorSource.gives(kind)),
        ];
        for (at, (source, told, by_nature, gives)) in sources.into_iter().enumerate() {
            if !gives {
                continue;
            }
            assert!(tell(told), "{source} tells of no {name}");
            let (tallies, wrong) = compare(&seen.bpf, told, name);
            differing.extend(wrong.into_iter().map(|wrong| format!("{source} {wrong}")));
            for (column, tally) in tallies {
                let verdict = tally.verdict(by_nature.contains(&column));
                if verdict == "ABSENT" {
                    differing.push(format!("{source} {name}: no {column}"));
                }
                table.entry(column).or_default()[at] = verdict;
            }
        }
        let rows = |told: &Told| -> usize {
            told.iter().filter(|((_, of), _)| *of == name).map(|(_, rows)| rows.len()).sum()
        };
        let of = |told: &Told| format!("{} of {}", rows(told), rows(&seen.bpf));
        let of_connector =
            if ConnectorSource.gives(kind) { of(&seen.connector) } else { "-".into() };
        println!("{name:<10} {:<12} {:<22} {of_connector}", "(rows)", of(&seen.audit));
        for (column, [audit, connector]) in table {
            println!("{name:<10} {column:<12} {audit:<22} {connector}");
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
