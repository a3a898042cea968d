//! Changes of ids and namespaces, held against what `/proc` says before and after each call.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use super::{Kept, Watch, config, fork};
use crate::bpf::collector::Collector;
use crate::bpf::health;
use crate::bpf::loader::{self, HostFacts};
use crate::bpf::objects::process::PROCESS;
use crate::bpf::probe::{Candidate, Duty, Hook, ObjectSpec, Program};
use crate::event::{Body, Concern, Creds, EventKind, NamespaceChange, Namespaces, RawEvent, Setid};

const KINDS: [EventKind; 2] = [EventKind::Setid, EventKind::Namespace];

pub fn shared() -> &'static Watch {
    static SHARED: OnceLock<Watch> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut config = config();
        config.kinds.extend(KINDS);
        Watch::with(&config)
    })
}

/// What `/proc` shows of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shown {
    pub creds: Creds,
    pub namespaces: Namespaces,
}

impl Shown {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let ids = |name: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.split_whitespace().map(|id| id.parse().expect("a number")).collect()
        };
        let (uids, gids) = (ids("Uid:"), ids("Gid:"));
        let namespace = |name: &str| {
            let inode = fs::metadata(format!("/proc/{pid}/ns/{name}")).expect("a namespace").ino();
            u32::try_from(inode).expect("32 bits")
        };
        Self {
            creds: Creds {
                uid: uids[0],
                euid: uids[1],
                suid: uids[2],
                fsuid: uids[3],
                gid: gids[0],
                egid: gids[1],
                sgid: gids[2],
                fsgid: gids[3],
            },
            namespaces: Namespaces {
                mnt: namespace("mnt"),
                pid: namespace("pid"),
                net: namespace("net"),
                user: namespace("user"),
            },
        }
    }
}

/// A plain call, made in a child of `fork`.
pub struct Call {
    pub name: &'static str,
    number: libc::c_long,
    args: [libc::c_long; 3],
}

pub const fn call(name: &'static str, number: libc::c_long, args: [libc::c_long; 3]) -> Call {
    Call { name, number, args }
}

/// What `/proc` showed before and after a call, and what the call returned.
pub struct Made {
    pub before: Shown,
    pub after: Shown,
    pub result: libc::c_long,
}

/// Makes the calls one by one in a child, and looks at it in between.
fn make(calls: &[Call]) -> (u32, Vec<Made>) {
    let (mut orders, our_orders) = std::io::pipe().expect("pipe");
    let (our_answers, answers) = std::io::pipe().expect("pipe");
    // SAFETY: the child makes plain system calls only, and ends by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // The last order is to end.
        drop(our_orders);
        let mut order = [0];
        for call in calls {
            let _ = orders.read(&mut order);
            let [first, second, third] = call.args;
            // SAFETY: calls that take numbers.
            let result = unsafe { libc::syscall(call.number, first, second, third) };
            let _ = (&answers).write_all(&(result as i64).to_ne_bytes());
        }
        let _ = orders.read(&mut order);
        // SAFETY: ends the child without running what the parent registered.
        unsafe { libc::_exit(0) };
    }
    assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
    drop((orders, answers));
    let id = pid.unsigned_abs();
    let made = calls.iter().map(|_| {
        let before = Shown::of(id);
        (&our_orders).write_all(&[1]).expect("the child reads");
        let mut result = [0; 8];
        (&our_answers).read_exact(&mut result).expect("the child answers");
        let result = i64::from_ne_bytes(result);
        Made { before, after: Shown::of(id), result }
    });
    let made = made.collect();
    drop(our_orders);
    // SAFETY: nobody asks for the status.
    assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
    (id, made)
}

/// Makes the calls until the kernel skipped no program meanwhile, as it does while somebody else
/// works on a map on the same CPU. What it skipped is counted.
pub fn make_undisturbed(calls: &[Call]) -> (u32, Vec<Made>) {
    let missed = || KINDS.map(|kind| shared().health(kind).lost_missed);
    loop {
        let before = missed();
        let made = make(calls);
        if missed() == before {
            return made;
        }
    }
}

fn setids(watch: &Watch, pid: u32) -> Vec<(RawEvent, Setid)> {
    let events = watch.of(pid).into_iter().filter_map(|event| match event.body.clone() {
        Body::Setid(setid) => Some((event, setid)),
        _ => None,
    });
    events.collect()
}

fn namespaces(watch: &Watch, pid: u32) -> Vec<(RawEvent, NamespaceChange)> {
    let events = watch.of(pid).into_iter().filter_map(|event| match event.body.clone() {
        Body::Namespace(change) => Some((event, change)),
        _ => None,
    });
    events.collect()
}

#[test]
fn each_call_that_changes_ids_is_told_with_the_ids_before_and_after() {
    // Down to nobody step by step, each of which only root may take.
    let calls = [
        call("setfsgid", libc::SYS_setfsgid, [2001, 0, 0]),
        call("setresgid", libc::SYS_setresgid, [2002, 2003, 2004]),
        call("setregid", libc::SYS_setregid, [2005, 2006, 0]),
        call("setgid", libc::SYS_setgid, [2007, 0, 0]),
        call("setfsuid", libc::SYS_setfsuid, [1001, 0, 0]),
        call("setresuid", libc::SYS_setresuid, [1002, 0, 0]),
        call("setreuid", libc::SYS_setreuid, [1003, 0, 0]),
        call("setuid", libc::SYS_setuid, [1004, 0, 0]),
    ];
    let watch = shared();
    let (pid, made) = make_undisturbed(&calls);
    let told = setids(watch, pid);
    assert_eq!(told.len(), calls.len(), "{told:#?}");
    for ((call, made), (event, setid)) in calls.iter().zip(&made).zip(&told) {
        assert_ne!(made.before, made.after, "{}: {}", call.name, made.result);
        assert_eq!(setid.syscall, Some(call.name));
        assert_eq!(setid.before, Some(made.before.creds), "{}", call.name);
        assert_eq!(event.task.creds, Some(made.after.creds), "{}", call.name);
        assert_eq!((event.task.pid, event.task.tid), (pid, pid));
        assert_eq!(event.task.parent_pid, Some(std::process::id()));
    }
}

#[test]
fn a_call_that_fails_or_changes_no_id_is_no_change() {
    let calls = [
        call("same", libc::SYS_setresuid, [-1, 0, -1]),
        call("groups", libc::SYS_setgroups, [0, 0, 0]),
        call("change", libc::SYS_setuid, [1234, 0, 0]),
        call("refused", libc::SYS_setuid, [0, 0, 0]),
        call("refused", libc::SYS_setfsuid, [0, 0, 0]),
        call("refused", libc::SYS_setresgid, [1, 1, 1]),
    ];
    let (pid, made) = make_undisturbed(&calls);
    assert_eq!((made[3].result, made[5].result), (-1, -1));
    let told = setids(shared(), pid);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].1.syscall, Some("setuid"));
}

/// Tracepoints are all there is for these calls, and 32-bit programs pass them by.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_setuid_of_a_32_bit_caller_is_not_seen_and_health_says_so() {
    use crate::testkit::compat;

    let watch = shared();
    let (pid, status) = fork(|| compat::call(compat::SETUID, [1234, 0, 0]));
    assert_eq!(status.code(), Some(0));
    assert_eq!(setids(watch, pid), []);
    let reason = watch.health(EventKind::Setid).reason;
    assert!(reason.contains("do not see 32-bit programs"), "{reason}");
}

fn assert_told(call: &Call, made: &Made, told: &(RawEvent, NamespaceChange), flags: i32) {
    let (event, change) = told;
    assert_eq!(made.result, 0, "{}", call.name);
    assert_eq!(change.syscall, Some(call.name));
    assert_eq!(change.flags, u64::try_from(flags).ok());
    assert_eq!(change.before, Some(made.before.namespaces), "{}", call.name);
    assert_eq!(event.task.namespaces, Some(made.after.namespaces), "{}", call.name);
}

#[test]
fn unshare_and_setns_are_told_with_the_namespaces_before_and_after() {
    let net = fs::File::open("/proc/self/ns/net").expect("a namespace");
    let ours = Shown::of(std::process::id()).namespaces;
    let (apart, private) = (libc::CLONE_NEWNET | libc::CLONE_NEWUTS, libc::CLONE_NEWNS);
    let calls = [
        call("unshare", libc::SYS_unshare, [apart.into(), 0, 0]),
        call("unshare", libc::SYS_unshare, [private.into(), 0, 0]),
        call("setns", libc::SYS_setns, [net.as_raw_fd().into(), 0, 0]),
        call("unshare", libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0]),
    ];
    let (pid, made) = make_undisturbed(&calls);
    let told = namespaces(shared(), pid);
    assert_eq!(told.len(), calls.len(), "{told:#?}");
    for (index, flags) in [apart, private, 0, libc::CLONE_NEWUSER].into_iter().enumerate() {
        assert_told(&calls[index], &made[index], &told[index], flags);
        assert_ne!(made[index].before.namespaces, made[index].after.namespaces);
    }
    assert_ne!(made[0].after.namespaces.net, ours.net);
    assert_eq!(made[2].after.namespaces.net, ours.net);
}

#[test]
fn a_namespace_that_only_children_will_be_in_is_told() {
    let calls = [call("unshare", libc::SYS_unshare, [libc::CLONE_NEWPID.into(), 0, 0])];
    let (pid, made) = make_undisturbed(&calls);
    let told = namespaces(shared(), pid);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_told(&calls[0], &made[0], &told[0], libc::CLONE_NEWPID);
    assert_eq!(made[0].before.namespaces.pid, made[0].after.namespaces.pid);
}

#[test]
fn a_call_that_leaves_the_namespaces_as_they_were_is_no_change() {
    let net = fs::File::open("/proc/self/ns/net").expect("a namespace");
    let calls = [
        call("files", libc::SYS_unshare, [libc::CLONE_FILES.into(), 0, 0]),
        call("nothing", libc::SYS_unshare, [0, 0, 0]),
        call("same", libc::SYS_setns, [net.as_raw_fd().into(), libc::CLONE_NEWNET.into(), 0]),
        call("refused", libc::SYS_unshare, [-1, 0, 0]),
        call("refused", libc::SYS_setns, [-1, 0, 0]),
    ];
    let (pid, made) = make_undisturbed(&calls);
    let results: Vec<_> = made.iter().map(|made| made.result).collect();
    assert_eq!(results, [0, 0, 0, -1, -1]);
    assert_eq!(namespaces(shared(), pid), []);
}

#[test]
fn every_probe_of_both_kinds_is_attached() {
    for (kind, probes) in KINDS.into_iter().zip([16, 4]) {
        let health = shared().health(kind);
        assert_eq!((health.probes_attached, health.probes_failed), (probes, 0), "{health:?}");
        assert_eq!(health.tier, "tracepoint");
        assert_eq!((health.lost_ring, health.malformed), (0, 0), "{health:?}");
    }
}

/// Room for one call, of which the end is never seen.
static NARROW: ObjectSpec = ObjectSpec {
    name: PROCESS.name,
    concern: PROCESS.concern,
    bytes: PROCESS.bytes,
    per_cpu_maps: PROCESS.per_cpu_maps,
    map_entries: &[("changing", 1)],
    switches: PROCESS.switches,
    duties: &[Duty {
        name: "sys_enter_setfsuid",
        kinds: &[EventKind::Setid],
        wanted: |_| true,
        candidates: &[Candidate {
            programs: &[Program::new(
                "enter_setfsuid",
                Hook::Tracepoint { category: "syscalls", name: "sys_enter_setfsuid" },
            )],
        }],
    }],
};

#[test]
fn a_call_that_could_not_be_remembered_is_counted() {
    let host = HostFacts::read().expect("the kernel has BTF");
    let lane = loader::load(&NARROW, &config(), &host).expect("the kernel takes it");
    let (ring, lane) = health::Kept::new(lane);
    let sink = std::sync::Arc::new(Kept::default());
    let collector =
        Collector::start(vec![(Concern::Process, ring)], sink).expect("a thread can be had");
    let missed = || lane.health(collector.tally()).remove(0).lost_missed;
    let before = missed();
    // The first takes the room, each of the others is one too many. Whoever else on this host
    // makes the call meanwhile is one more.
    for _ in 0..5 {
        fork(|| {
            // SAFETY: a call that takes a number.
            unsafe { libc::syscall(libc::SYS_setfsuid, -1) };
            0
        });
    }
    assert!(missed() >= before + 4, "{}", missed());
}
