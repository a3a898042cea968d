//! Records of audit, in any order and state: one line each, `TYPE payload` as in the corpus. Whatever
//! comes is counted once, and nothing stays behind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osquery_ebpf_probes::audit::assemble::Assembler;
use osquery_ebpf_probes::audit::decode::{Asked, Base, Decoded, Sought, World, decode};
use osquery_ebpf_probes::event::Bytes;

/// Longer than anything waits.
const LONG_NS: u64 = 10_000_000_000;

struct Nowhere;

impl World for Nowhere {
    fn boot_ns(&self, unix_ms: u64) -> u64 {
        unix_ms.saturating_mul(1_000_000)
    }

    fn locate(&mut self, sought: &Sought<'_>) -> Option<Bytes> {
        match sought.base {
            _ if sought.name.starts_with(b"/") => Some(sought.name.into()),
            Base::Cwd(cwd) => Some([cwd?, b"/", sought.name].concat().into()),
            Base::Descriptor(_) => None,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut assembler = Assembler::default();
    let mut groups = Vec::new();
    let (mut now, mut pushed) = (0, 0);
    for line in data.split(|&byte| byte == b'\n') {
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (kind, payload) = line.split_at(digits);
        let kind = str::from_utf8(kind).ok().and_then(|kind| kind.parse().ok()).unwrap_or(0);
        // A line that begins with a space lets time pass.
        now += if digits == 0 { LONG_NS / 20 } else { 1_000 };
        assembler.push(kind, payload.strip_prefix(b" ").unwrap_or(payload), now, &mut groups);
        pushed += 1;
        assembler.expire(now, &mut groups);
    }
    assembler.expire(now + LONG_NS, &mut groups);
    assert_eq!(assembler.open(), 0);
    let counts = assembler.counts();
    assert_eq!(counts.records, pushed);
    assert_eq!(counts.complete + counts.incomplete + counts.headless, groups.len() as u64);
    assert!(counts.malformed <= pushed && counts.late <= pushed);
    let asked = Asked { own_pid: 1, unix_sockets: true, file_access: true, files: true };
    for group in &groups {
        let once = decode(group, asked, &mut Nowhere);
        assert_eq!(once, decode(group, asked, &mut Nowhere));
        if let Decoded::Event(event) = once {
            assert_ne!(event.task.pid, asked.own_pid);
        }
    }
});
