use std::io::{Read, Write};

use thrift::protocol::{TInputProtocol, TOutputProtocol, TType};

use super::*;
use crate::testing::{directory, eventually};

/// Answers each message with its name.
struct Echo {
    /// Messages of this name are answered when the test lets them.
    held: Mutex<()>,
}

impl Handler for Echo {
    fn message(&self, input: &mut Input<Stream>, output: &mut Output) -> thrift::Result<()> {
        let message = input.read_message_begin()?;
        input.skip(TType::Struct)?;
        if message.name == "slow" {
            drop(self.held.lock());
        }
        output.write_message_begin(&message)?;
        output.write_field_stop()?;
        output.flush()
    }
}

fn message(name: &str) -> Vec<u8> {
    use thrift::protocol::{TBinaryOutputProtocol, TMessageIdentifier, TMessageType};
    let mut bytes = Vec::new();
    let mut output = TBinaryOutputProtocol::new(&mut bytes, true);
    output.write_message_begin(&TMessageIdentifier::new(name, TMessageType::Call, 1)).unwrap();
    output.write_field_stop().unwrap();
    bytes
}

struct Rig {
    server: Server,
    echo: Arc<Echo>,
    _directory: tempfile::TempDir,
}

fn rig(limits: Limits) -> Rig {
    let directory = directory();
    let echo = Arc::new(Echo { held: Mutex::new(()) });
    let handler = Arc::clone(&echo) as Arc<dyn Handler>;
    let server = Server::bind(&directory.path().join("s"), limits, handler).unwrap();
    Rig { server, echo, _directory: directory }
}

impl Rig {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.server.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn count(&self, count: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        count(self.server.counts()).load(Ordering::Relaxed)
    }
}

fn ask(stream: &mut UnixStream, name: &str) -> io::Result<()> {
    let question = message(name);
    stream.write_all(&question)?;
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, question);
    Ok(())
}

/// Whether the other end has closed.
fn is_closed(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_))
}

fn short() -> Limits {
    Limits {
        connections: 4,
        message_bytes: 1 << 16,
        idle: Duration::from_secs(60),
        message: Duration::from_millis(200),
        stall: Duration::from_millis(200),
    }
}

#[test]
fn only_its_owner_may_touch_the_socket() {
    let rig = rig(short());
    let mode = fs::metadata(rig.server.path()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_socket_goes_with_its_server() {
    let mut rig = rig(short());
    ask(&mut rig.connect(), "ping").unwrap();
    rig.server.stop();
    assert!(!rig.server.path().exists());
}

#[test]
fn a_socket_left_behind_is_replaced_but_nothing_else_is() {
    let directory = directory();
    let path = directory.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let echo = || Arc::new(Echo { held: Mutex::new(()) });
    drop(Server::bind(&path, short(), echo()).unwrap());
    fs::write(&path, "precious").unwrap();
    assert!(matches!(Server::bind(&path, short(), echo()), Err(BindError::InTheWay(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let directory = directory();
    let open = directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let echo = Arc::new(Echo { held: Mutex::new(()) });
    let refused = Server::bind(&open.join("s"), short(), echo);
    assert!(matches!(refused, Err(BindError::UnsafeDirectory(_))));
}

#[test]
fn a_directory_within_one_that_others_can_write_is_refused_too() {
    let directory = directory();
    let open = directory.path().join("open");
    fs::create_dir_all(open.join("closed")).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let echo = Arc::new(Echo { held: Mutex::new(()) });
    match Server::bind(&open.join("closed/s"), short(), echo) {
        Err(BindError::UnsafeDirectory(named)) => assert!(named.ends_with("open"), "{named:?}"),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_directory_that_all_can_write_will_do_if_only_owners_can_remove() {
    let directory = directory();
    let shared = directory.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let echo = Arc::new(Echo { held: Mutex::new(()) });
    drop(Server::bind(&shared.join("s"), short(), echo).unwrap());
}

#[test]
fn a_link_in_the_sockets_place_is_neither_followed_nor_removed() {
    let directory = directory();
    let (path, target) = (directory.path().join("s"), directory.path().join("target"));
    drop(UnixListener::bind(&target).unwrap());
    let before = fs::symlink_metadata(&target).unwrap().mode();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let echo = Arc::new(Echo { held: Mutex::new(()) });
    assert!(matches!(Server::bind(&path, short(), echo), Err(BindError::InTheWay(_))));
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(fs::symlink_metadata(&target).unwrap().mode(), before);
}

#[test]
fn a_link_on_the_way_is_followed_once_and_where_it_leads_is_judged() {
    let directory = directory();
    let (open, real) = (directory.path().join("open"), directory.path().join("real"));
    fs::create_dir(&open).unwrap();
    fs::create_dir(&real).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let echo = || Arc::new(Echo { held: Mutex::new(()) });
    let server = Server::bind(&link.join("s"), short(), echo()).unwrap();
    assert_eq!(server.path(), fs::canonicalize(&real).unwrap().join("s"));
    drop(server);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&open, &link).unwrap();
    let refused = Server::bind(&link.join("s"), short(), echo());
    assert!(matches!(refused, Err(BindError::UnsafeDirectory(_))));
}

#[test]
fn a_file_put_in_the_sockets_place_survives_the_servers_end() {
    let mut rig = rig(short());
    let path = rig.server.path().to_owned();
    let mut connection = rig.connect();
    ask(&mut connection, "ping").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    // Who is connected already does not notice.
    ask(&mut connection, "ping").unwrap();
    rig.server.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

mod root {
    use super::*;

    #[test]
    fn somebody_elses_socket_is_not_taken_for_one_left_behind() {
        let directory = directory();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        std::os::unix::fs::lchown(&path, Some(65_534), Some(65_534)).unwrap();
        let echo = Arc::new(Echo { held: Mutex::new(()) });
        assert!(matches!(Server::bind(&path, short(), echo), Err(BindError::InTheWay(_))));
        assert!(path.exists());
    }
}

#[test]
fn a_connection_serves_many_messages_and_many_connections_are_served() {
    let rig = rig(short());
    let mut connections: Vec<_> = (0..4).map(|_| rig.connect()).collect();
    for _ in 0..10 {
        for connection in &mut connections {
            ask(connection, "ping").unwrap();
        }
    }
    assert_eq!(rig.count(|counts| &counts.accepted), 4);
}

#[test]
fn idle_connections_make_room_the_oldest_first() {
    let rig = rig(short());
    let mut idle: Vec<_> = (0..4)
        .map(|_| {
            let mut connection = rig.connect();
            ask(&mut connection, "ping").unwrap();
            connection
        })
        .collect();
    for _ in 0..20 {
        ask(&mut rig.connect(), "ping").unwrap();
    }
    assert!(rig.count(|counts| &counts.evicted) >= 1);
    assert!(is_closed(&mut idle[0]));
}

#[test]
fn a_slow_answer_delays_no_other() {
    let rig = rig(short());
    let hold = rig.echo.held.lock();
    let mut slow = rig.connect();
    slow.write_all(&message("slow")).unwrap();
    for _ in 0..10 {
        ask(&mut rig.connect(), "ping").unwrap();
    }
    drop(hold);
    let mut answer = vec![0; message("slow").len()];
    slow.read_exact(&mut answer).unwrap();
}

#[test]
fn when_every_connection_is_busy_the_next_is_refused_and_counted() {
    let rig = rig(short());
    let hold = rig.echo.held.lock();
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let mut connection = rig.connect();
            connection.write_all(&message("slow")).unwrap();
            connection
        })
        .collect();
    eventually("every connection to be busy", || {
        let connections = rig.server.shared.connections.lock();
        connections.len() == 4 && connections.values().all(|entry| entry.idle_since.is_none())
    });
    assert!(is_closed(&mut rig.connect()));
    eventually("it to be counted", || rig.count(|counts| &counts.refused) == 1);
    drop(hold);
    drop(busy);
}

#[test]
fn half_a_message_ends_at_its_deadline_and_only_that_connection() {
    let rig = rig(short());
    let mut other = rig.connect();
    ask(&mut other, "ping").unwrap();
    let mut half = rig.connect();
    let whole = message("ping");
    half.write_all(&whole[..whole.len() / 2]).unwrap();
    assert!(is_closed(&mut half));
    assert_eq!(rig.count(|counts| &counts.timed_out), 1);
    ask(&mut other, "ping").unwrap();
}

#[test]
fn nonsense_ends_the_connection_and_is_counted() {
    let rig = rig(short());
    let huge_name = [&[0x80, 1, 0, 1][..], &i32::MAX.to_be_bytes()].concat();
    let old_protocol = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    for nonsense in [huge_name, old_protocol] {
        let mut connection = rig.connect();
        connection.write_all(&nonsense).unwrap();
        assert!(is_closed(&mut connection));
    }
    eventually("both to be counted", || rig.count(|counts| &counts.malformed) == 2);
}

#[test]
fn a_peer_that_goes_in_the_middle_is_counted_as_broken() {
    let rig = rig(short());
    let mut connection = rig.connect();
    connection.write_all(&message("ping")[..6]).unwrap();
    drop(connection);
    eventually("it to be counted", || rig.count(|counts| &counts.broken) == 1);
    ask(&mut rig.connect(), "ping").unwrap();
}
