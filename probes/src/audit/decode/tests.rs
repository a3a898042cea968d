use std::net::SocketAddr;

use super::super::corpus::{self, Told, assemble, decoded, events, records};
use super::*;
use crate::event::{Creds, Endpoint};

fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

fn execs() -> Vec<(Task, Exec)> {
    let exec = |event: RawEvent| match event.body {
        Body::Exec(exec) => (event.task, *exec),
        other => panic!("{other:?}"),
    };
    events(corpus::EXEC)
        .into_iter()
        .filter(|event| event.kind() == EventKind::Exec)
        .map(exec)
        .collect()
}

fn argv(exec: &Exec) -> Vec<String> {
    let bytes = exec.args.bytes.as_deref().unwrap();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|&byte| byte == 0).map(text).collect()
}

fn exec_of(first: &str) -> (Task, Exec) {
    execs().into_iter().find(|(_, exec)| argv(exec)[0] == first).unwrap()
}

#[test]
fn an_exec_has_what_its_records_say() {
    let (task, exec) =
        execs().into_iter().find(|(_, exec)| argv(exec).contains(&"plain".to_owned())).unwrap();
    assert_eq!(argv(&exec), ["/bin/echo", "plain"]);
    assert_eq!(exec.path.map(text).as_deref(), Some("/usr/bin/echo"));
    assert_eq!(exec.raw_path.map(text).as_deref(), Some("/bin/echo"));
    assert_eq!(exec.cwd.map(text).as_deref(), Some("/tmp/corpus"));
    assert_eq!((exec.args.size, exec.args.count), (Some(16), Some(2)));
    assert_eq!((exec.fileless, exec.syscall, exec.tty), (Some(false), Some("execve"), None));
    assert_eq!(exec.interpreter, None);
    assert_eq!(exec.truncated, Truncated { env: true, ..Truncated::default() });
    let file = exec.file.unwrap();
    assert_eq!((file.mode, file.uid, file.gid), (Some(0o100_755), Some(0), Some(0)));
    assert_eq!(file.device, Some(rustix::fs::makedev(0xfe, 0)));
    assert!(file.inode.is_some());
    assert_eq!((task.auid, task.creds), (Some(4242), Some(Creds::default())));
    assert_eq!(task.comm.map(text).as_deref(), Some("echo"));
    assert!(task.parent_pid.is_some_and(|parent| parent != task.pid));
    assert_eq!((task.start_ns, task.ns_pid), (None, None));
}

#[test]
fn arguments_come_out_as_they_were_given_whatever_is_in_them() {
    let arguments: Vec<_> = execs().into_iter().map(|(_, exec)| exec.args).collect();
    let odd = b"/bin/echo\0with space\0quo\"te\0\0new\nline\0\xc3\xbcn\xc3\xaf\0\x01\xff\0";
    assert!(arguments.iter().any(|args| args.bytes.as_deref() == Some(odd)));
    let (_, renamed) = exec_of("odd name");
    assert_eq!(argv(&renamed), ["odd name", "one", "two"]);
    assert_eq!(renamed.path.map(text).as_deref(), Some("/usr/bin/true"));
}

#[test]
fn one_long_argument_and_many_short_ones_come_out_whole() {
    let sizes: Vec<_> = execs()
        .into_iter()
        .filter(|(_, exec)| exec.args.size > Some(9000))
        .map(|(_, exec)| {
            (exec.args.count, argv(&exec).len(), argv(&exec)[1].len(), exec.truncated.args)
        })
        .collect();
    assert_eq!(sizes, [(Some(2), 2, 9000, false), (Some(3001), 3001, 1, false)]);
}

#[test]
fn a_script_is_its_interpreter_with_the_script_as_what_was_asked_for() {
    let (_, script) = execs()
        .into_iter()
        .find(|(_, exec)| argv(exec).contains(&"./script.sh".to_owned()))
        .unwrap();
    assert_eq!(argv(&script), ["/bin/sh", "./script.sh", "arg"]);
    assert_eq!(script.path.map(text).as_deref(), Some("/usr/bin/dash"));
    assert_eq!(script.raw_path.map(text).as_deref(), Some("./script.sh"));
    assert_eq!(script.interpreter.map(text).as_deref(), Some("/bin/sh"));
    let records = records(corpus::EXEC);
    let shell = records
        .iter()
        .map(|(_, payload)| text(payload))
        .find(|text| text.contains("name=\"/bin/sh\""))
        .unwrap();
    let inode = script.file.unwrap().inode.unwrap();
    assert!(shell.contains(&format!("inode={inode} ")), "{shell}");

    let (_, env) = exec_of("/usr/bin/env");
    assert_eq!(env.interpreter.map(text).as_deref(), Some("/usr/bin/env"));
    let (_, called_by_env) =
        execs().into_iter().find(|(_, exec)| argv(exec) == ["sh", "-e", "./envscript"]).unwrap();
    assert_eq!(called_by_env.interpreter, None);
}

#[test]
fn a_program_without_a_name_in_any_directory_is_fileless() {
    let (_, memory) = exec_of("in memory");
    assert_eq!(memory.fileless, Some(true));
    assert_eq!(memory.path.map(text).as_deref(), Some("/memfd:payload"));
    assert_eq!(memory.syscall, Some("execveat"));
    let others = execs().into_iter().filter(|(_, exec)| exec.fileless == Some(true)).count();
    assert_eq!(others, 1);
}

#[test]
fn credentials_are_those_after_the_exec() {
    let (task, _) = exec_of("/bin/id");
    let creds = task.creds.unwrap();
    assert_eq!((creds.uid, creds.euid, creds.gid), (65534, 65534, 65534));
}

#[test]
fn an_exec_that_failed_is_no_event() {
    let mut records = records(corpus::EXEC);
    for (_, payload) in &mut records {
        *payload = text(&*payload).replace("success=yes exit=0", "success=no exit=-2").into_bytes();
    }
    let (groups, _) = assemble(&records);
    let world = &mut Told::default();
    assert!(groups.iter().all(|group| decode(group, corpus::ASKED, world) == Decoded::Nothing));
}

#[test]
fn our_own_doings_are_no_events() {
    let own = Asked { own_pid: exec_of("odd name").0.pid, ..corpus::ASKED };
    let (groups, _) = assemble(&records(corpus::EXEC));
    let told =
        groups.iter().filter(|group| decode(group, own, &mut Told::default()) != Decoded::Nothing);
    assert_eq!(told.count(), execs().len() - 2); // bash, and what it became
}

#[test]
fn an_exec_without_its_arguments_is_an_event_that_says_so() {
    let mut records = records(corpus::EXEC);
    records.retain(|(kind, _)| *kind != super::super::record::kind::EXECVE);
    let (groups, counts) = assemble(&records);
    assert_eq!(counts.incomplete, execs().len() as u64);
    for group in &groups {
        let Decoded::Event(event) = decode(group, corpus::ASKED, &mut Told::default()) else {
            continue;
        };
        let Body::Exec(exec) = event.body else { panic!() };
        assert_eq!(exec.args, Default::default());
        assert!(exec.truncated.args);
    }
}

fn sockets() -> Vec<Socket> {
    let socket = |event: RawEvent| match event.body {
        Body::Socket(socket) => *socket,
        other => panic!("{other:?}"),
    };
    events(corpus::SOCKET).into_iter().map(socket).collect()
}

fn inet(text: &str) -> Option<Endpoint> {
    Some(Endpoint::Inet(text.parse::<SocketAddr>().unwrap()))
}

#[test]
fn socket_calls_have_address_descriptor_and_result() {
    let sockets = sockets();
    let refused: Vec<_> = sockets
        .iter()
        .filter(|socket| socket.remote == inet("127.0.0.1:1"))
        .map(|socket| (socket.action, socket.result, socket.fd, socket.syscall))
        .collect();
    let connect =
        |fd| (SocketAction::Connect, Some(-libc::ECONNREFUSED), Some(fd), Some("connect"));
    // Through socketcall and by its own number from a 32-bit call, then from Python.
    assert_eq!(refused, [connect(3), connect(3), connect(7)]);

    let unspecified = "[::1]:0".parse::<SocketAddr>().unwrap();
    let v6 =
        sockets.iter().find(|socket| socket.local == Some(Endpoint::Inet(unspecified))).unwrap();
    assert_eq!((v6.action, v6.family, v6.result), (SocketAction::Bind, Some(AF_INET6), Some(0)));
    assert!(sockets.iter().any(|socket| socket.remote == inet("[::1]:53")));
    assert!(sockets.iter().any(|socket| socket.remote == inet("[::ffff:127.0.0.1]:1")));
    let pending = sockets.iter().filter(|socket| socket.result == Some(-libc::EINPROGRESS)).count();
    assert_eq!(pending, 2);
}

#[test]
fn accept_has_the_peer_and_the_new_descriptor_or_the_error() {
    let accepts: Vec<_> =
        sockets().into_iter().filter(|socket| socket.action == SocketAction::Accept).collect();
    let taken: Vec<_> =
        accepts.iter().map(|socket| (socket.fd, socket.result, socket.remote.is_some())).collect();
    let none = (None, Some(-libc::EAGAIN), false);
    let one = |fd, peer| (Some(fd), Some(fd), peer);
    assert_eq!(
        taken,
        [one(5, true), one(7, true), none, one(4, true), one(6, true), none, one(3, false)]
    );
    let listens = sockets().into_iter().filter(|socket| socket.action == SocketAction::Listen);
    assert_eq!(listens.map(|socket| socket.fd).collect::<Vec<_>>(), [Some(3), Some(9), Some(11)]);
}

#[test]
fn unix_paths_end_at_nul_and_abstract_names_do_not() {
    let names: Vec<_> = sockets()
        .into_iter()
        .filter_map(|socket| match socket.local.or(socket.remote) {
            Some(Endpoint::Unix(name)) => Some(text(name)),
            _ => None,
        })
        .collect();
    let nscd = "/var/run/nscd/socket";
    assert_eq!(names, [nscd, nscd, "/tmp/corpus/sock", "/tmp/corpus/sock", "\0abs tract"]);
}

#[test]
fn unix_sockets_are_left_out_unless_asked_for_and_other_families_always() {
    let (groups, _) = assemble(&records(corpus::SOCKET));
    let families = |unix_sockets| {
        let asked = Asked { unix_sockets, ..corpus::ASKED };
        let families =
            groups.iter().filter_map(|group| match decode(group, asked, &mut Told::default()) {
                Decoded::Event(event) => match event.body {
                    Body::Socket(socket) => socket.family,
                    _ => None,
                },
                _ => None,
            });
        families.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(families(true), [AF_UNIX, AF_INET, AF_INET6].into());
    assert_eq!(families(false), [AF_INET, AF_INET6].into());
}

#[test]
fn changes_of_ids_and_namespaces_say_what_holds_afterwards() {
    let events = events(corpus::IDS);
    let calls: Vec<_> = events
        .iter()
        .map(|event| match &event.body {
            Body::Setid(setid) => (setid.syscall, None),
            Body::Namespace(change) => (change.syscall, change.flags),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (Some("setgid"), None),
        (Some("setuid"), None),
        (Some("setresuid"), None),
        (Some("unshare"), Some(0x2_0000)),
        (Some("setns"), Some(0)),
    ];
    assert_eq!(calls, expected);
    let creds: Vec<_> = events.iter().filter_map(|event| event.task.creds).collect();
    assert_eq!((creds[0].gid, creds[0].uid), (65534, 0));
    assert_eq!((creds[1].gid, creds[1].uid), (65534, 65534));
    assert_eq!((creds[2].uid, creds[2].euid, creds[2].suid, creds[2].fsuid), (1, 2, 3, 2));
}

#[test]
fn the_time_is_that_of_the_stamp() {
    let events = events(corpus::IDS);
    let payloads: Vec<_> = records(corpus::IDS).iter().map(|(_, payload)| text(payload)).collect();
    let first = events[0].time_ns / 1_000_000;
    let stamp = format!("audit({}.{:03}:", first / 1000, first % 1000);
    assert!(payloads.iter().any(|payload| payload.starts_with(&stamp)), "{stamp}");
}

#[test]
fn every_group_of_the_corpus_is_told_or_known_to_be_none() {
    for corpus in [corpus::EXEC, corpus::SOCKET, corpus::IDS] {
        let lost = decoded(corpus, &mut Told::default())
            .into_iter()
            .filter(|decoded| matches!(decoded, Decoded::Lost(_) | Decoded::Unplaced));
        assert_eq!(lost.count(), 0);
    }
}
