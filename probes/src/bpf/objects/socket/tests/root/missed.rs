//! Changes of state at which no program ran are found out about all the same.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::super::SOCKET;
use super::V4;
use super::bounds::Narrow;
use super::outcomes::{Full, answer_of, reset_on_close, unanswered, wait_for_answer};
use super::watch::here;
use crate::event::{Body, Connection, RawEvent, Socket, SocketAction, SocketId};

impl Narrow {
    /// The connects that this thread left open, in their order.
    fn asked(&self) -> Vec<SocketId> {
        let open = |socket: &Socket| {
            socket.action == SocketAction::Connect && socket.result == Some(-libc::EINPROGRESS)
        };
        let events = self.events(|event| event.task.tid == here());
        let ids = events.into_iter().filter_map(|event| match event.body {
            Body::Socket(socket) if open(&socket) => socket.id,
            _ => None,
        });
        ids.collect()
    }

    /// What is said of connects that failed.
    fn answers(&self) -> Vec<Connection> {
        let events = self.events(|event| event.task.tid == here());
        let answers = events.into_iter().filter_map(|event| match event.body {
            Body::Connection(answer) if answer.error != 0 => Some(*answer),
            _ => None,
        });
        answers.collect()
    }
}

/// Times out many connects while others come and go, and says of how many that were seen nothing more
/// was told, and how often the first program was skipped.
fn time_out() -> (usize, u64) {
    const CONNECTS: usize = 300;
    let watch = Narrow::start(&SOCKET);
    let full = Full::new();
    let over = AtomicBool::new(false);
    let others = || {
        let listener = TcpListener::bind(V4).unwrap();
        while !over.load(Ordering::Relaxed) {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            // A reset may overtake the handshake's end; then there is never anything to accept.
            let server = listener.accept().unwrap();
            reset_on_close(&client);
            drop(client);
            drop(server);
        }
    };
    std::thread::scope(|scope| {
        // However this ends: they are waited for.
        let _over = scopeguard::guard((), |()| over.store(true, Ordering::Relaxed));
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(others);
        }
        // The kernel looks after those of a moment at once.
        let one = || {
            std::thread::park_timeout(Duration::from_millis(4));
            unanswered(&full)
        };
        let clients: Vec<_> = std::iter::repeat_with(one).take(CONNECTS).collect();
        assert!(clients.iter().all(|client| answer_of(client) == libc::ETIMEDOUT));
    });
    let mut untold = watch.asked();
    let unseen = CONNECTS - untold.len();
    let answers = watch.answers();
    // Not always which: we ask for it while the kernel sets it, and whoever asks takes it.
    untold.retain(|id| !answers.iter().any(|answer| answer.id == *id));
    assert_eq!(answers.len() + untold.len() + unseen, CONNECTS, "{answers:?}");
    let health = watch.health();
    let missed = (untold.len() + unseen) as u64;
    assert!(missed <= health.lost_missed, "{missed} missed: {health:?}");
    (untold.len(), watch.kept.skipped("set_state"))
}

/// A timer finds out, in an interrupt, and what it interrupts may be our program, at a change of state
/// of another connection.
///
/// Some hosts' kernels run no program at all in interrupts of certain processes: whether that happened
/// cannot be told, but that it does not always.
#[test]
fn every_connect_that_times_out_is_told_so_while_others_come_and_go() {
    const TIMES: usize = 12;
    /// Kernels before 5.12 do not say how often a program was skipped.
    const WITHOUT_SKIPS: usize = 3;
    for time in 1..=TIMES {
        let (untold, skipped) = time_out();
        println!("{untold} untold, skipped {skipped} times");
        if untold == 0 && (skipped > 0 || time >= WITHOUT_SKIPS) {
            return;
        }
    }
    panic!("something was never told, {TIMES} times");
}

#[test]
fn what_ended_unseen_is_told_by_the_end_of_the_socket_or_counted() {
    let mut watch = Narrow::start(&SOCKET);
    let full = Full::new();
    let listener = TcpListener::bind(V4).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap();
    let (told, unknown) = (unanswered(&full), unanswered(&full));
    watch.kept.detach_duty("states");

    drop(client);
    drop(server);
    wait_for_answer(&told);
    drop(told);
    // Who asks for the error takes it.
    assert_eq!(answer_of(&unknown), libc::ETIMEDOUT);
    drop(unknown);

    let [told, _] = watch.asked()[..] else { panic!("{:?}", watch.asked()) };
    let answers = watch.answers();
    let [Connection { id, error: libc::ETIMEDOUT, .. }] = answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(id, told);
    let closed = |event: &RawEvent| {
        let of = |socket: &Socket| socket.action == SocketAction::Close && socket.end.is_some();
        event.task.tid == here() && matches!(&event.body, Body::Socket(socket) if of(socket))
    };
    assert_eq!(watch.events(closed).len(), 2);
    let health = watch.health();
    assert!(health.lost_missed > 0, "{health:?}");
}
