//! What the programs cost whoever meets them, in instructions.
//!
//! For a virtual machine whose clock counts instructions (`VM_ICOUNT` of tests/vm/boot.sh): there a
//! nanosecond is one instruction, the same in every run. Nobody reads the rings meanwhile, so that
//! what is measured is the kernel alone.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::ptr;
use std::time::Instant;

use super::config;
use crate::bpf::loader::{self, HostFacts, Lane};
use crate::bpf::objects;
use crate::event::EventKind;
use crate::source::{SourceConfig, TierWish};

/// The best of so many rounds counts: in the others a timer came between.
const ROUNDS: usize = 7;
/// An unrelated call may seem dearer by this much, since a round is ended by a clock.
const NOTHING: f64 = 2.0;

struct Load {
    name: &'static str,
    /// Operations in a round.
    count: u32,
    work: fn(),
}

const LOADS: [Load; 5] = [
    Load { name: "unrelated call (getppid)", count: 20_000, work: unrelated },
    Load { name: "fork, exec and exit", count: 20, work: execute },
    Load { name: "connect of a UDP socket", count: 500, work: connect_udp },
    Load { name: "TCP connection, both ends", count: 100, work: connect_tcp },
    Load { name: "bind of a UDP socket", count: 500, work: bind },
];

fn unrelated() {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

fn execute() {
    let argv = [c"/bin/true".as_ptr(), ptr::null()];
    // SAFETY: between vfork's like and exec the child makes system calls only.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::execve(argv[0], argv.as_ptr(), [ptr::null()].as_ptr());
            libc::_exit(127);
        }
        assert_eq!(libc::waitpid(pid, ptr::null_mut(), 0), pid);
    }
}

thread_local! {
    static UDP: (UdpSocket, UdpSocket) = {
        let any = || UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        (any(), any())
    };
    static LISTENER: TcpListener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
}

fn connect_udp() {
    UDP.with(|(client, peer)| client.connect(peer.local_addr().unwrap()).unwrap());
}

fn connect_tcp() {
    LISTENER.with(|listener| {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        drop(server);
    });
}

fn bind() {
    drop(UdpSocket::bind(("127.0.0.1", 0)).unwrap());
}

/// What one operation takes, at best.
fn measure(load: &Load) -> f64 {
    (load.work)();
    let rounds = (0..ROUNDS).map(|_| {
        let since = Instant::now();
        (0..load.count).for_each(|_| (load.work)());
        since.elapsed().as_nanos() as f64 / f64::from(load.count)
    });
    rounds.fold(f64::INFINITY, f64::min)
}

/// Does the loads in a process of its own, one that was forked before there were rings: a fork of who
/// has a ring mapped copies thousands of page-table entries.
struct Worker {
    pid: i32,
    ask: std::fs::File,
    answer: std::fs::File,
}

impl Worker {
    fn start() -> Self {
        let (asked, ask) = std::io::pipe().unwrap();
        let (answer, answering) = std::io::pipe().unwrap();
        // SAFETY: the C library readies its locks for a child that goes on; it ends by _exit.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // Else it would wait for itself to ask.
            drop(ask);
            let (mut asked, mut answering) = (asked, answering);
            let mut which = [0];
            while asked.read_exact(&mut which).is_ok() {
                let taken = measure(&LOADS[usize::from(which[0])]);
                answering.write_all(&taken.to_ne_bytes()).unwrap();
            }
            // SAFETY: ends the child without running what the parent registered.
            unsafe { libc::_exit(0) };
        }
        let file = |end: OwnedFd| std::fs::File::from(end);
        Self { pid, ask: file(ask.into()), answer: file(answer.into()) }
    }

    fn measure(&mut self, which: usize) -> f64 {
        self.ask.write_all(&[u8::try_from(which).unwrap()]).unwrap();
        let mut taken = [0; 8];
        self.answer.read_exact(&mut taken).unwrap();
        f64::from_ne_bytes(taken)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: it is our child, and no status is asked for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

/// Programs of every kind, attached, with nobody who reads.
fn attach(host: &HostFacts, tier: TierWish) -> Vec<Lane> {
    let kinds = vec![EventKind::Exec, EventKind::Fork, EventKind::Exit, EventKind::Socket];
    let config = SourceConfig { kinds, tier, ..config() };
    objects::ALL.into_iter().map(|spec| loader::load(spec, &config, host).unwrap()).collect()
}

#[test]
#[ignore = "only where the clock counts instructions: tests/vm/cost.sh"]
fn an_unrelated_call_costs_nothing_where_functions_are_hooked() {
    let mut worker = Worker::start();
    let host = HostFacts::read().unwrap();
    println!("::cost {:<28} {:>9} {:>9} {:>9}", "instructions for", "bare", "tier 1", "tier 2");
    for (which, load) in LOADS.iter().enumerate() {
        let bare = worker.measure(which);
        let mut with = |tier| {
            let lanes = attach(&host, tier);
            let taken = worker.measure(which);
            drop(lanes);
            taken - bare
        };
        let (first, second) = (with(TierWish::Functions), with(TierWish::Calls));
        println!("::cost {:<28} {bare:>9.0} {first:>+9.0} {second:>+9.0}", load.name);
        if which == 0 {
            assert!(first.abs() <= NOTHING, "{first} instructions more for an unrelated call");
            assert!(second > NOTHING, "tracepoints of calls slow every call down, by {second}");
        }
    }
}
