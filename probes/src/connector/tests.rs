use super::*;
use crate::event::Body;
use crate::source::RingBytes;

#[test]
fn it_gives_what_the_kernel_tells_and_no_more() {
    let given: Vec<_> =
        EventKind::ALL.into_iter().filter(|&kind| ConnectorSource.gives(kind)).collect();
    assert_eq!(given, [EventKind::Exec, EventKind::Fork, EventKind::Exit, EventKind::Setid]);
}

#[test]
fn a_refusal_says_what_to_do() {
    let error = refused(&io::Error::from_raw_os_error(libc::EPERM));
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    let error = refused(&io::Error::from_raw_os_error(libc::EPROTONOSUPPORT));
    assert!(error.to_string().contains("CONFIG_PROC_EVENTS"), "{error}");
}

mod root {
    use std::collections::HashSet;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::time::Instant;

    use super::*;
    use crate::event::{Exec, Exit};
    use crate::testkit::{
        self, DEADLINE, Kept, assert_root, burst, config, execs_of_children, health, spawn,
    };

    fn start(config: &SourceConfig) -> (Box<dyn Running>, Arc<Kept>) {
        assert_root();
        testkit::start(Box::new(ConnectorSource), config)
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

    fn text(bytes: &Option<crate::event::Bytes>) -> String {
        String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned()
    }

    #[test]
    fn a_process_is_seen_from_fork_to_exit_with_what_proc_says() {
        let (running, kept) = start(&config(&[Concern::Process]));
        let mut child = Command::new("/bin/sleep").arg("1000").current_dir("/usr").spawn().unwrap();
        let pid = child.id();
        let exec = kept.of(pid, |event| exec(event).map(|exec| (event.clone(), exec)));
        let (event, exec) = exec;
        assert_eq!(
            text(&exec.path),
            std::fs::read_link(format!("/proc/{pid}/exe")).unwrap().to_str().unwrap()
        );
        assert_eq!(exec.args.bytes.as_deref(), Some(&b"/bin/sleep\x001000\0"[..]));
        assert_eq!(text(&exec.cwd), "/usr");
        let meta = std::fs::metadata("/bin/sleep").unwrap();
        use std::os::unix::fs::MetadataExt;
        let file = exec.file.unwrap();
        assert_eq!(
            (file.inode, file.device, file.mode),
            (Some(meta.ino()), Some(meta.dev()), Some(meta.mode()))
        );
        assert_eq!(event.task.parent_pid, Some(std::process::id()));
        let me = std::fs::metadata("/proc/self").unwrap();
        let creds = event.task.creds.unwrap();
        assert_eq!((creds.uid, creds.gid), (me.uid(), me.gid()));
        let found = crate::proc::read(pid).unwrap();
        assert_eq!(event.task.start_ns, Some(found.start_ns));
        assert!(event.time_ns >= found.start_ns && event.time_ns < boot_now_ns());

        child.kill().unwrap();
        let status = child.wait().unwrap();
        let (exit, start_ns) =
            kept.of(pid, |event| exit(event).map(|exit| (exit, event.task.start_ns)));
        assert_eq!((exit.code, exit.signal), (None, status.signal()));
        // It may have been waited for before it was looked at.
        assert!(start_ns.is_none() || start_ns == Some(found.start_ns));
        let order: Vec<_> = kept
            .all()
            .iter()
            .filter(|event| {
                let forked = matches!(&event.body, Body::Fork(fork) if fork.child_pid == pid);
                forked || event.task.pid == pid
            })
            .map(RawEvent::kind)
            .collect();
        assert_eq!(order, [EventKind::Fork, EventKind::Exec, EventKind::Exit]);
        drop(running);
    }

    #[test]
    fn an_exit_code_and_a_deadly_signal_are_told_apart() {
        let (_running, kept) = start(&config(&[Concern::Process]));
        for (script, code, signal) in [("exit 3", Some(3), None), ("kill -TERM $$", None, Some(15))]
        {
            let pid = spawn("/bin/sh", &["-c", script]);
            let exit = kept.of(pid, exit);
            assert_eq!((exit.code, exit.signal), (code, signal), "{script}");
        }
    }

    #[test]
    fn of_an_exec_that_executes_again_at_once_neither_wears_the_others_path() {
        let (_running, kept) = start(&config(&[Concern::Process]));
        for _ in 0..20 {
            let pid = spawn("/bin/sh", &["-c", "exec /bin/true second"]);
            kept.of(pid, exit);
            let execs: Vec<Exec> =
                kept.all().iter().filter(|event| event.task.pid == pid).filter_map(exec).collect();
            assert_eq!(execs.len(), 2);
            let name =
                |path: &str| std::fs::canonicalize(path).unwrap().to_str().unwrap().to_owned();
            for (exec, own) in execs.iter().zip(["/bin/sh", "/bin/true"]) {
                let path = text(&exec.path);
                assert!(path.is_empty() || path == name(own), "{execs:#?}");
            }
        }
    }

    #[test]
    fn a_process_ends_once_however_many_threads_it_has() {
        let (running, kept) = start(&config(&[Concern::Process]));
        // SAFETY: the child calls only what is safe to call between fork and exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let threads: Vec<_> = (0..3)
                .map(|_| std::thread::spawn(|| std::thread::sleep(Duration::from_millis(50))))
                .collect();
            std::mem::forget(threads);
            // SAFETY: ends this thread alone, which is the leader; the others go on.
            unsafe { libc::syscall(libc::SYS_exit, 7) };
        }
        let pid = u32::try_from(child).unwrap();
        let mut status = 0;
        // SAFETY: the child is ours.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        kept.of(pid, exit);
        assert!(running.flush(DEADLINE));
        let exits =
            kept.all().iter().filter(|event| event.task.pid == pid).filter_map(exit).count();
        assert_eq!(exits, 1);
    }

    #[test]
    fn a_change_of_ids_has_those_that_hold_afterwards() {
        let mut config = config(&[Concern::Process]);
        config.kinds = vec![EventKind::Exec, EventKind::Setid];
        let (_running, kept) = start(&config);
        let ids = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "/bin/sleep", "0.1"];
        let pid = spawn("/usr/bin/setpriv", &ids);
        let changes = kept.wait(|events| {
            let changes: Vec<_> = events
                .iter()
                .filter(|event| event.task.pid == pid && event.kind() == EventKind::Setid)
                .map(|event| event.task.creds)
                .collect();
            (changes.len() == 2).then_some(changes)
        });
        for creds in changes.into_iter().flatten() {
            assert!(creds.uid == 65534 || creds.gid == 65534, "{creds:?}");
        }
    }

    #[test]
    fn what_nobody_asked_for_is_left_out_but_for_the_process_cache() {
        let mut config = config(&[]);
        config.kinds = vec![EventKind::Exec];
        let (running, kept) = start(&config);
        let pid = spawn("/usr/bin/setpriv", &["--reuid", "65534", "/bin/true"]);
        kept.of(pid, exit);
        assert!(running.flush(DEADLINE));
        let kinds: HashSet<_> = kept.all().iter().map(RawEvent::kind).collect();
        assert_eq!(kinds, HashSet::from([EventKind::Exec, EventKind::Fork, EventKind::Exit]));
    }

    #[test]
    fn a_flush_brings_in_all_that_happened_before_it() {
        let (running, kept) = start(&config(&[Concern::Process]));
        for _ in 0..20 {
            let pid = spawn("/bin/true", &[]);
            assert!(running.flush(DEADLINE));
            let kinds: Vec<_> = kept
                .all()
                .iter()
                .filter(|event| event.task.pid == pid)
                .map(RawEvent::kind)
                .collect();
            assert_eq!(kinds, [EventKind::Exec, EventKind::Exit]);
        }
    }

    /// How many messages a listener with room for all has read, which lost none, and how many one with
    /// little room has read or knows to be lost, at one moment: nothing came between the readings.
    fn at_once(small: &mut Reader, large: &mut Reader) -> (u64, u64) {
        let mut ignored = Vec::new();
        let mut read = |reader: &mut Reader| {
            while !reader.drain(&mut ignored).unwrap() {}
            ignored.clear();
            let counts = reader.counts();
            counts.received + counts.lost
        };
        let deadline = Instant::now() + DEADLINE;
        loop {
            let before = read(large);
            let told = read(small);
            if read(large) == before {
                assert_eq!(large.counts().lost, 0, "the large one is to be the measure");
                return (told, before);
            }
            assert!(Instant::now() < deadline, "the host is never quiet for a moment");
        }
    }

    /// The measure is a second listener, which has room for everything.
    #[test]
    fn what_a_small_socket_loses_is_counted_to_the_last_message() {
        assert_root();
        let mut small = Reader::open(4096, 1).unwrap();
        let mut large = Reader::open(64 << 20, 1).unwrap();
        let (told, all) = at_once(&mut small, &mut large);
        for _ in 0..5 {
            burst("/bin/true", "lost", 300);
            // No message comes after those that are lost, on any processor of this burst.
            let (told_now, all_now) = at_once(&mut small, &mut large);
            assert_eq!(told_now - told, all_now - all);
        }
        let counts = small.counts();
        assert!(counts.lost > 5 * 300 && counts.overruns >= 5, "{counts:?}");
    }

    /// How many of the messages about these processes came: of each a fork, an exec and an exit.
    fn about(events: &[RawEvent], pids: &[u32]) -> usize {
        let pids: HashSet<u32> = pids.iter().copied().collect();
        let is_ours = |event: &&RawEvent| match &event.body {
            Body::Fork(fork) => pids.contains(&fork.child_pid),
            Body::Exec(_) | Body::Exit(_) => pids.contains(&event.task.pid),
            _ => false,
        };
        events.iter().filter(is_ours).count()
    }

    #[test]
    fn of_thirty_thousand_execs_each_is_an_event_or_a_counted_loss() {
        const EXECS: usize = 30_000;
        let (running, kept) = start(&config(&[Concern::Process]));
        burst("/bin/true", "burst", EXECS);
        assert!(running.flush(DEADLINE));
        let (forks, execs, exits) = execs_of_children(&kept.all(), std::process::id());
        let lost = usize::try_from(health(running.as_ref(), EventKind::Exec).lost_ring).unwrap();
        println!("{EXECS} execs: {forks} forks, {execs} execs, {exits} exits, {lost} lost");
        if lost == 0 {
            assert_eq!((forks, execs, exits), (EXECS, EXECS, EXECS));
        } else {
            // Of which kind, and whose, the lost ones were nobody can tell.
            assert!([forks, execs, exits].iter().all(|told| told + lost >= EXECS));
        }
    }

    #[test]
    fn a_small_ring_under_a_burst_loses_and_says_so() {
        const EXECS: usize = 2000;
        // A reader that has a CPU to itself keeps up with one burst, seldom with two at once.
        const ROUNDS: usize = 10;
        let mut config = config(&[Concern::Process]);
        config.ring_bytes = RingBytes { process: 8192, ..RingBytes::default() };
        let (running, kept) = start(&config);
        for _ in 0..ROUNDS {
            let before = kept.all().len();
            let lost_before = health(running.as_ref(), EventKind::Exec).lost_ring;
            let pids = std::thread::scope(|scope| {
                let other = scope.spawn(|| burst("/bin/true", "burst", EXECS));
                let mut pids = burst("/bin/true", "burst", EXECS);
                pids.append(&mut other.join().unwrap());
                pids
            });
            assert!(running.flush(DEADLINE));
            let health = health(running.as_ref(), EventKind::Exec);
            let lost = usize::try_from(health.lost_ring - lost_before).unwrap();
            let told = about(&kept.all()[before..], &pids);
            // Everything else on the host adds to what is lost.
            assert!(told + lost >= 3 * pids.len(), "{told} told, {lost} lost");
            if lost > 0 {
                assert!(health.last_error.contains("overruns"), "{health:?}");
                return;
            }
        }
        panic!("nothing was lost");
    }
}
