//! What anybody who may open our socket writes into it: any bytes, answered by the real endpoint over
//! real tables.
#![no_main]

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use osquery_ebpf::caller::CallerSource;
use osquery_ebpf::plugin::Endpoint;
use osquery_ebpf::server::Handler as _;
use osquery_ebpf::wire::{Deadline, Input, Stream, output};
use osquery_ebpf_probes::clock::BootId;
use osquery_ebpf_tables::options::Options;
use osquery_ebpf_tables::scan::Caller;
use osquery_ebpf_tables::{EventTables, HostFacts};

/// Of one message. The real one is larger; here every byte of it is to matter.
const LIMIT: usize = 64 << 10;
const STALL: Duration = Duration::from_millis(200);

struct Nobody;

impl CallerSource for Nobody {
    fn caller(&self) -> Caller {
        Caller::AdHoc
    }
}

static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
    let host =
        HostFacts { boot_id: BootId(1), kernel: String::new(), btf: String::new(), mnt_ns: None };
    let Ok(tables) = EventTables::new(Options::default(), host) else { std::process::abort() };
    Endpoint::new(tables, Arc::new(Nobody), || {})
});

fuzz_target!(|data: &[u8]| {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    // More than the socket holds would wait for a reader.
    theirs.write_all(&data[..data.len().min(LIMIT)]).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let stream = Stream::new(ours, Deadline::new(STALL, STALL));
    let mut answers = output(stream.try_clone().unwrap());
    let mut input = Input::new(stream, LIMIT);
    while input.wait().is_ok_and(|more| more) {
        if ENDPOINT.message(&mut input, &mut answers).is_err() {
            break;
        }
    }
});
