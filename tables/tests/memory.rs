//! Whether the bytes the tables say they hold are the bytes they hold, asked of the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use osquery_ebpf_probes::clock::{BootId, boot_now_ns};
use osquery_ebpf_probes::event::{Body, Bytes, Creds, Exec, RawEvent, SourceKind, Strings, Task};
use osquery_ebpf_tables::options::Options;
use osquery_ebpf_tables::scan::{Caller, Request, Tables as _};
use osquery_ebpf_tables::{EventTables, HostFacts};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grew(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grew(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn list(strings: &[&str]) -> Strings {
    let joined: Vec<u8> = strings.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()).collect();
    Strings { size: None, count: None, bytes: Some(joined.into()) }
}

fn bytes(text: &str) -> Option<Bytes> {
    Some(text.as_bytes().into())
}

fn exec(number: u32) -> RawEvent {
    let path = format!("/usr/lib/tools/program-{}", number % 50);
    let args = [&*path, "--option", &format!("--input=/var/lib/data/{number}"), "-v"];
    let exec = Exec {
        path: bytes(&path),
        args: list(&args),
        env: list(&["PATH=/usr/bin:/bin", "HOME=/root", "LANG=C"]),
        cwd: bytes("/var/lib/data"),
        ..Exec::default()
    };
    let task = Task {
        pid: 1000 + number,
        tid: 1000 + number,
        start_ns: Some(u64::from(number) * 10_000_000),
        parent_pid: Some(1),
        parent_start_ns: Some(0),
        creds: Some(Creds::default()),
        cgroup: bytes("/system.slice/cron.service"),
        ..Task::default()
    };
    let body = Body::Exec(Box::new(exec));
    RawEvent { time_ns: boot_now_ns(), source: SourceKind::Bpf, task, body }
}

/// One test, as the allocator counts for the whole process.
#[test]
fn what_is_said_to_be_held_is_what_the_allocator_gave() {
    let (kernel, btf) = (String::new(), String::new());
    let host = HostFacts { boot_id: BootId(1), kernel, btf, mnt_ns: None };
    let before = LIVE.load(Ordering::Relaxed);
    let tables = EventTables::new(Options::default(), host).unwrap();
    let sink = tables.sink();
    let mut batch = Vec::new();
    for number in 0..60_000 {
        batch.push(exec(number));
        if batch.len() == 500 {
            sink.accept(&mut batch);
        }
    }
    drop(batch);
    let held = LIVE.load(Ordering::Relaxed) - before;
    let accounting = tables.accounting();
    let process = accounting.kinds.first().unwrap();
    assert_eq!(process.counts.held(), 50_000);
    let said = process.store.held_bytes + accounting.processes_bytes;
    // Statistics, counters and the like are small and not part of either figure.
    assert!(held <= said + (1 << 20), "{held} bytes are held, {said} are said to be");
    assert!(said <= held + held / 8, "{said} bytes are said to be held, {held} are");
    assert!(process.store.held_bytes <= Options::default().process.bytes);

    // Reading all rows takes little beside them: the core's own table took 538 MB for 100,000.
    let table = tables.tables().first().unwrap();
    let columns = (0..table.columns.len()).filter(|&column| Some(column) != table.column("sha256"));
    let columns = Some(columns.collect());
    let request = Request { constraints: Vec::new(), columns, caller: Caller::AdHoc };
    let live = LIVE.load(Ordering::Relaxed);
    PEAK.store(live, Ordering::Relaxed);
    let scan = tables.scan(table.name, &request).unwrap();
    let mut values = 0;
    for index in 0..scan.len() {
        scan.row(index, &mut |_, _| values += 1);
    }
    assert!(values > 50_000 * 20);
    let peak = PEAK.load(Ordering::Relaxed) - live;
    assert!(peak < 4 << 20, "{peak} bytes to read 50,000 rows");

    drop((scan, sink));
    drop(tables);
    let left = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    assert!(left < 64 << 10, "{left} bytes are left");
}
