//! What happens when something around the program breaks. Each test says what was lost, and that it
//! was counted.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test, and what helps it, may and should fail loudly"
)]

#[expect(dead_code, reason = "not all of it is needed here")]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use osquery_ebpf::host::Host;
use osquery_ebpf::thrift::{ExtensionSyncClient, TExtensionSyncClient};
use osquery_ebpf::wire::{Deadline, Input, Stream, output};

use support::{
    PROGRAM, Program, Service, count, eventually, host, listed, registered, serve, serve_under,
    text,
};

/// The socket that the program serves beside its host's. It comes a moment after the registration.
fn served_at(host: &Host) -> PathBuf {
    let directory = host.socket().parent().unwrap();
    let is_one = |path: &PathBuf| {
        *path != *host.socket() && path.metadata().is_ok_and(|found| found.file_type().is_socket())
    };
    let mut found = None;
    eventually("the program's socket", || {
        let mut files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        found = files.find(is_one);
        found.is_some()
    });
    found.unwrap()
}

/// One that asks it as osqueryd does.
fn asks(path: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(path) else { return false };
    let limit = Duration::from_secs(60);
    let reading = Stream::new(stream, Deadline::new(limit, limit));
    let writing = reading.try_clone().unwrap();
    let mut client = ExtensionSyncClient::new(Input::new(reading, 1 << 24), output(writing));
    let request = BTreeMap::from([
        ("action".to_owned(), "generate".to_owned()),
        ("context".to_owned(), "{}".to_owned()),
    ]);
    client
        .call("table".to_owned(), "ebpf_events_health".to_owned(), request)
        .is_ok_and(|answer| answer.response.is_some_and(|rows| !rows.is_empty()))
}

/// A call of `generate` as bytes.
fn generate(table: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = i32::try_from(text.len()).unwrap().to_be_bytes();
        [&length[..], text.as_bytes()].concat()
    };
    let field = |kind: u8, id: u8| vec![kind, 0, id];
    let name = [vec![0x80, 1, 0, 1], text("call"), vec![0, 0, 0, 1]].concat();
    let map =
        [vec![11, 11, 0, 0, 0, 2], text("action"), text("generate"), text("context"), text("{}")];
    [
        name,
        field(11, 1),
        text("table"),
        field(11, 2),
        text(table),
        field(13, 3),
        map.concat(),
        vec![0],
    ]
    .concat()
}

#[test]
fn an_ordinary_users_start_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("osquery-ebpf");
    std::fs::copy(PROGRAM, &program).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    for arguments in [&["serve"][..], &["shell", "SELECT 1"]] {
        let output =
            Command::new(&program).args(arguments).uid(65_534).gid(65_534).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains("must run as root; try sudo"), "{output:?}");
    }
    let off = ["shell", "--source=off", "--for=0", "SELECT 'looked around'"];
    let output = Command::new(&program).args(off).uid(65_534).gid(65_534).output().unwrap();
    assert!(text(&output.stdout).contains("looked around"), "{output:?}");
}

#[test]
fn nonsense_on_the_socket_ends_only_those_who_sent_it() {
    let service = serve("{}", &["--source=off"]);
    let path = served_at(&service.host);
    let whole = generate("ebpf_events_health");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let began = Instant::now();
    let mut held = Vec::new();
    let (mut sent, mut answered) = (0_u32, 0_u32);
    while sent < 3_000 {
        let mut bytes = whole.clone();
        match sent % 4 {
            // Half a frame, and silence.
            0 => bytes.truncate(usize::try_from(random()).unwrap() % whole.len()),
            // A huge length where one is.
            1 => {
                let at = usize::try_from(random()).unwrap() % (whole.len() - 4);
                bytes.splice(at..at + 4, i32::MAX.to_be_bytes());
            }
            // One byte changed.
            2 => {
                let at = usize::try_from(random()).unwrap() % whole.len();
                bytes.splice(at..=at, [random().to_le_bytes().into_iter().next().unwrap()]);
            }
            // Nothing that makes sense.
            _ => bytes
                .iter_mut()
                .for_each(|byte| *byte = random().to_le_bytes().into_iter().next().unwrap()),
        }
        if let Ok(mut stream) = UnixStream::connect(&path) {
            // It may hang up while we write.
            let _ = stream.write_all(&bytes);
            held.push(stream);
        }
        sent += 1;
        if held.len() > 40 {
            held.clear();
        }
        if sent % 100 == 0 {
            assert!(asks(&path), "after {sent}");
            answered += 1;
        }
    }
    println!(
        "{sent} broken messages in {:?}, {answered} of {answered} real ones answered",
        began.elapsed()
    );
    drop(held);
    eventually("the host's own query", || {
        count(&service.host, "SELECT count(*) FROM ebpf_events_health") == Some(7)
    });
    assert!(std::fs::metadata(format!("/proc/{}", service.program.0.id())).is_ok());
}

#[test]
fn who_never_reads_an_answer_holds_others_up_for_seconds_only() {
    let service = serve("{}", &["--source=off"]);
    let path = served_at(&service.host);
    let question = generate("ebpf_events_health");
    // Each asks until its own end is full, and reads nothing.
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut asked = 0_u32;
        let until = Instant::now() + Duration::from_secs(2);
        while asked < 2_000 && Instant::now() < until {
            match stream.write(&question) {
                Ok(length) if length == question.len() => asked += 1,
                _ => std::thread::yield_now(),
            }
        }
        assert!(asked > 10, "{asked}");
        deaf.push(stream);
    }
    // They fill every place for scans, until each has taken nothing for as long as is allowed.
    let began = Instant::now();
    assert!(asks(&path));
    println!("the first answer beside 8 deaf peers took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for _ in 0..50 {
        let began = Instant::now();
        assert!(asks(&path));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[test]
fn with_every_descriptor_taken_by_others_it_serves_again_once_they_go() {
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path(), "{}");
    let line = format!(
        "ulimit -n 40; exec {PROGRAM} serve --source off --socket {}",
        host.socket().display()
    );
    let mut program = Program::by_shell(&line);
    eventually("the registration", || registered(&host));
    let path = served_at(&host);
    let crowd: Vec<_> = (0..60).filter_map(|_| UnixStream::connect(&path).ok()).collect();
    assert!(crowd.len() > 40, "{}", crowd.len());
    let fds = || std::fs::read_dir(format!("/proc/{}/fd", program.0.id())).unwrap().count();
    eventually("the last descriptor", || fds() >= 38);
    drop(crowd);
    eventually("an answer", || asks(&path));
    program.terminate();
    let (code, said) = program.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Too many open files"), "{said}");
}

mod root {
    use super::*;

    fn execute(mark: &str) {
        assert!(Command::new("/bin/echo").arg(mark).output().unwrap().status.success());
    }

    fn seen(host: &Host, mark: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM process_events WHERE cmdline = '/bin/echo {mark}'");
        count(host, &sql).unwrap_or(-1)
    }

    /// A number of the health of executions.
    fn of_exec(host: &Host, column: &str) -> i64 {
        count(host, &format!("SELECT {column} FROM ebpf_events_health WHERE kind = 'exec'"))
            .unwrap()
    }

    /// Every execution that was produced is somewhere.
    fn assert_all_accounted_for(host: &Host) {
        let sum = "produced = received + lost_ring \
                   AND received = malformed + excluded + unselected + stored \
                   AND stored = held + evicted + expired";
        eventually("the sums", || of_exec(host, sum) == 1);
    }

    fn mark(name: &str) -> String {
        format!("{name}-{}", std::process::id())
    }

    /// Runs a program with a pid that another process has had.
    fn run_as(pid: u32, program: &str, mark: &str) {
        // The next process gets the next pid, unless something else starts in between.
        for _ in 0..1000 {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
            let mut child = Command::new(program).arg(mark).stdout(Stdio::null()).spawn().unwrap();
            let got = child.id();
            assert!(child.wait().unwrap().success());
            if got == pid {
                return;
            }
        }
        panic!("{program} did not get pid {pid}");
    }

    #[test]
    fn who_has_anothers_pid_later_is_told_apart_from_it() {
        let Service { program: _program, host, directory: _directory } =
            serve("{}", &["--source=bpf"]);
        let mark = mark("reused");
        let mut first = Command::new("/bin/true").arg(&mark).spawn().unwrap();
        let pid = first.id();
        assert!(first.wait().unwrap().success());
        // Starts are told in hundredths of a second, by us as by /proc.
        std::thread::park_timeout(Duration::from_millis(20));
        run_as(pid, "/bin/echo", &mark);
        let ends = format!("SELECT count(*) FROM ebpf_process_exits WHERE pid = {pid}");
        eventually("both ends", || count(&host, &ends) == Some(2));
        for program in ["true", "echo"] {
            let own = format!(
                "SELECT count(*) FROM process_events e JOIN ebpf_process_exits t USING (process_id) \
                 WHERE e.pid = {pid} AND e.cmdline = '/bin/{program} {mark}' \
                 AND t.cmdline = e.cmdline AND t.path = e.path"
            );
            assert_eq!(count(&host, &own), Some(1), "{program}");
        }
        let ids =
            format!("SELECT count(DISTINCT process_id) FROM process_events WHERE pid = {pid}");
        assert_eq!(count(&host, &ids), Some(2));
        assert_all_accounted_for(&host);
    }

    #[test]
    fn an_osqueryd_that_accepts_and_never_answers_costs_no_event() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("osquery.em");
        let deaf = UnixListener::bind(&path).unwrap();
        let mark = mark("deaf");
        let program =
            Program::start(&["serve", "--source=bpf", "--socket", path.to_str().unwrap()]);
        let (mut first, _) = deaf.accept().unwrap();
        let mut asked = [0; 16];
        assert!(first.read(&mut asked).unwrap() > 0);
        // It asks after its sources have started.
        execute(&mark);
        drop((first, deaf));
        std::fs::remove_file(&path).unwrap();
        let host = host(directory.path(), "{}");
        let until = Instant::now() + Duration::from_secs(60);
        while !registered(&host) {
            assert!(Instant::now() < until, "it does not come to the next osqueryd");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        eventually("the event", || seen(&host, &mark) == 1);
        assert_all_accounted_for(&host);
        drop(program);
    }

    #[test]
    fn a_file_in_place_of_osqueryds_socket_costs_no_event() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "{}");
        let path = host.socket().to_owned();
        let _program = serve_under(&host, &["--source=bpf"]);
        let mark = mark("file");
        execute(&mark);
        host.abandon();
        // A host that is killed leaves its socket.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, "no socket").unwrap();
        execute(&mark);
        // As long as it takes to notice and try again.
        let began = Instant::now();
        eventually("some attempts", || began.elapsed() > Duration::from_secs(4));
        execute(&mark);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "no socket");
        std::fs::remove_file(&path).unwrap();
        let host = super::host(directory.path(), "{}");
        eventually("the second registration", || registered(&host));
        eventually("all three events", || seen(&host, &mark) == 3);
        assert_all_accounted_for(&host);
    }

    #[test]
    fn killed_and_started_again_it_has_lost_what_it_held_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "{}");
        let mark = mark("killed");
        let mut first = serve_under(&host, &["--source=bpf"]);
        execute(&mark);
        eventually("the first event", || seen(&host, &mark) == 1);
        first.0.kill().unwrap();
        first.0.wait().unwrap();
        eventually("the host to notice", || !registered(&host));
        // Nobody is there to see it: it cannot be counted either, but the start can be seen.
        execute(&mark);
        let _second = serve_under(&host, &["--source=bpf"]);
        execute(&mark);
        eventually("the third event", || seen(&host, &mark) == 1);
        assert!(of_exec(&host, "attached_seconds") < 20, "since when it watches is told");
        assert_all_accounted_for(&host);
    }

    #[test]
    fn ten_thousand_queries_while_events_pour_in_lose_nothing_uncounted() {
        const QUERIES: i64 = 10_000;
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "{}");
        let _program = serve_under(&host, &["--source=bpf"]);
        let mark = mark("pouring");
        let (run, echoed) = (directory.path().join("run"), directory.path().join("echoed"));
        let script = format!(
            "while [ -e {} ]; do /bin/echo {mark} >>{}; done",
            run.display(),
            echoed.display()
        );
        std::fs::write(&run, "").unwrap();
        let mut loops: Vec<_> = (0..2)
            .map(|_| Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap())
            .collect();
        let path = served_at(&host);
        let began = Instant::now();
        for query in 0..QUERIES {
            // Both ways: on a connection of its own, and by SQL.
            if query % 10 == 0 {
                assert!(seen(&host, &mark) >= 0, "query {query}");
            } else {
                assert!(asks(&path), "query {query}");
            }
        }
        let took = began.elapsed();
        std::fs::remove_file(&run).unwrap();
        loops.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
        assert_all_accounted_for(&host);
        let echoed = std::fs::read_to_string(&echoed).unwrap();
        let executed = i64::try_from(echoed.lines().count()).unwrap();
        let lost = of_exec(&host, "lost_ring + lost_missed + malformed + evicted + expired");
        let rows = seen(&host, &mark);
        println!(
            "{QUERIES} queries in {took:?}, {executed} executions meanwhile: {rows} rows, {lost} lost"
        );
        assert!(executed > 100, "{executed}");
        assert!(rows + lost >= executed, "{rows} + {lost} < {executed}");
    }

    #[test]
    fn too_few_descriptors_for_its_sources_is_said_and_what_works_is_served() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "{}");
        let line =
            format!("ulimit -n 24; exec {PROGRAM} serve --socket {}", host.socket().display());
        let mut program = Program::by_shell(&line);
        let mut ended = None;
        eventually("a registration or an end", || {
            ended = program.0.try_wait().unwrap();
            listed(&host) || ended.is_some()
        });
        if ended.is_none() {
            // What is not served has its reason in health, unless there is no descriptor for the
            // query either.
            let sql = "SELECT count(*) FROM ebpf_events_health WHERE reason LIKE '%open files%' \
                       OR reason LIKE '%EMFILE%' OR last_error LIKE '%open files%'";
            assert_ne!(count(&host, sql), Some(0));
            program.terminate();
        }
        let (_, said) = program.ended();
        assert!(said.contains("Too many open files") || said.contains("EMFILE"), "{said}");
    }

    /// Starts the program where `prepare` has been run in a mount namespace of its own.
    fn start_in(prepare: &str, host: &Host) -> Program {
        let line = format!(
            "{prepare} && exec {PROGRAM} serve --source=bpf --socket {}",
            host.socket().display()
        );
        Program::by(Command::new("unshare").args(["--mount", "/bin/sh", "-c", &line]))
    }

    #[test]
    fn without_proc_it_does_not_start_and_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "{}");
        let (code, said) = start_in("mount -t tmpfs none /proc", &host).ended();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("/proc/sys/kernel/random/boot_id"), "{said}");
    }

    #[test]
    fn a_proc_that_hides_processes_hides_none_from_us() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "{}");
        // Somebody who is there before us, and whose row needs /proc.
        let mut before = Command::new("/bin/sh")
            .args(["-c", "read go; /bin/echo hidden; read go"])
            .uid(65_534)
            .gid(65_534)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let _program = start_in("mount -t proc -o hidepid=2 proc /proc", &host);
        eventually("the registration", || registered(&host));
        let mut stdin = before.stdin.take().unwrap();
        stdin.write_all(b"go\n").unwrap();
        let sql = format!(
            "SELECT count(*) FROM process_events WHERE cmdline = '/bin/echo hidden' \
             AND parent = {}",
            before.id()
        );
        eventually("the event", || count(&host, &sql) == Some(1));
        let sql = "SELECT count(*) FROM process_events WHERE cmdline = '/bin/echo hidden' \
                   AND ancestry LIKE '%sh%'";
        assert_eq!(count(&host, sql), Some(1), "its parent was read from /proc");
        drop(stdin);
        before.wait().unwrap();
    }

    /// A cgroup that limits memory, removed with it.
    struct Limited {
        path: PathBuf,
        peak: &'static str,
    }

    impl Limited {
        fn new(bytes: u64) -> Self {
            let name = format!("osquery-ebpf-test-{}", std::process::id());
            let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
            let v1 = own.lines().find_map(|line| line.split_once(":memory:"));
            let (path, limit, peak) = match v1 {
                Some((_, own)) => (
                    PathBuf::from(format!("/sys/fs/cgroup/memory{own}/{name}")),
                    "memory.limit_in_bytes",
                    "memory.max_usage_in_bytes",
                ),
                None => (PathBuf::from("/sys/fs/cgroup").join(name), "memory.max", "memory.peak"),
            };
            std::fs::create_dir(&path).unwrap();
            let limited = Self { path, peak };
            std::fs::write(limited.path.join(limit), bytes.to_string())
                .unwrap_or_else(|error| panic!("these tests need a memory cgroup: {error}"));
            limited
        }

        fn peak(&self) -> u64 {
            std::fs::read_to_string(self.path.join(self.peak)).unwrap().trim().parse().unwrap()
        }
    }

    impl Drop for Limited {
        fn drop(&mut self) {
            let until = Instant::now() + Duration::from_secs(10);
            while std::fs::remove_dir(&self.path).is_err() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn within_the_memory_its_service_allows_it_holds_a_storm_and_counts_what_made_room() {
        // MemoryMax of packaging/osquery-ebpf.service.
        const MEMORY: u64 = 200 << 20;
        const EXECUTIONS: u32 = 3_000;
        let limited = Limited::new(MEMORY);
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "{}");
        let line = format!(
            "echo $$ >{}/cgroup.procs && exec {PROGRAM} serve --socket {}",
            limited.path.display(),
            host.socket().display()
        );
        let program = Program::by_shell(&line);
        eventually("the registration", || registered(&host));
        // 24 KiB of arguments each: far more than the store may keep.
        let long = "x".repeat(24 << 10);
        let script = format!("for i in $(seq {EXECUTIONS}); do /bin/true $i$1; done");
        let status = Command::new("/bin/sh").args(["-c", &script, "sh", &long]).status().unwrap();
        assert!(status.success());
        assert_all_accounted_for(&host);
        let (stored, evicted) = (of_exec(&host, "stored"), of_exec(&host, "evicted"));
        let lost = of_exec(&host, "lost_ring + lost_missed + malformed + expired");
        println!(
            "peak {} MiB; {stored} stored, {evicted} evicted, {lost} lost",
            limited.peak() >> 20
        );
        assert!(stored + lost >= i64::from(EXECUTIONS));
        assert!(evicted > 0, "the storm was too small to prove anything");
        assert!(limited.peak() < MEMORY, "{}", limited.peak());
        drop(program);
    }
}
