//! Frames of the process connector, one after the other, each behind its length in one byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osquery_ebpf_probes::connector::frame::{Event, decode};
use osquery_ebpf_probes::connector::gaps::Gaps;
use osquery_ebpf_probes::connector::threads::Threads;

fuzz_target!(|data: &[u8]| {
    let mut gaps = Gaps::default();
    let mut threads = Threads::default();
    let mut rest = data;
    let mut lost = 0;
    while let Some((&length, after)) = rest.split_first() {
        let (payload, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let Ok(frame) = decode(payload) else { continue };
        assert_eq!(decode(payload), Ok(frame));
        if frame.is_numbered() {
            let skipped = gaps.see(frame.cpu, frame.sequence);
            if skipped > 0 {
                threads.lost();
            }
            lost = gaps.lost().max(lost);
            assert_eq!(gaps.lost(), lost);
        }
        match frame.event {
            Event::Fork { child_pid, child_tgid, .. } if child_pid != child_tgid => {
                threads.thread_began(child_tgid);
            }
            Event::Fork { child_tgid, .. } => threads.process_began(child_tgid),
            Event::Exec { tgid, .. } => threads.alone(tgid),
            Event::Exit { pid, tgid, code } => {
                // A process that ended does not end again.
                if threads.ended(tgid, || code & 1 == 1) {
                    assert!(!threads.ended(tgid, || true), "{pid}");
                }
            }
            Event::Answer { .. } => _ = gaps.count(frame.sequence),
            _ => {}
        }
        lost = gaps.lost();
    }
});
