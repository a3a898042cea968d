use osquery_ebpf_probes::event::{EventKind, SourceKind};

use super::*;

#[derive(Debug, Clone, Copy)]
struct Plain(u64);

impl Record for Plain {
    fn kind(&self) -> EventKind {
        EventKind::Exec
    }
    fn time_ns(&self) -> u64 {
        self.0
    }
    fn source(&self) -> SourceKind {
        SourceKind::Bpf
    }
}

fn filled(seqs: impl IntoIterator<Item = u64>) -> Segment<Plain> {
    let mut segment = Segment::new(100);
    for seq in seqs {
        assert!(segment.push(seq, Keys::unknown(seq as i64), Plain(seq)));
    }
    segment
}

#[test]
fn events_are_found_by_number_across_gaps() {
    let segment = filled([100, 101, 103, 106]);
    assert_eq!(segment.lower_bound(0), 0);
    assert_eq!(segment.lower_bound(102), 2);
    assert_eq!(segment.lower_bound(103), 2);
    assert_eq!(segment.lower_bound(107), 4);
    assert_eq!(segment.seq(3), Some(106));
    assert_eq!(segment.seq(4), None);
    assert_eq!(segment.time_range(), (100, 106));
}

#[test]
fn a_number_that_does_not_fit_is_refused_whole() {
    let mut segment = filled([100]);
    assert!(!segment.push(100 + (1 << 33), Keys::unknown(0), Plain(0)));
    assert!(!segment.push(99, Keys::unknown(0), Plain(0)));
    assert_eq!(segment.len(), 1);
    assert_eq!(segment.pids().len(), 1);
}

#[test]
fn lineage_runs_from_the_nearest_to_the_oldest_and_has_a_limit() {
    let mut segment = filled([100]);
    let mut last = 0;
    for pid in 1..=20 {
        let path = Text::NONE;
        let ancestor = Ancestor { pid, older: last, process_id: 0, path, args: path };
        last = segment.push_ancestor(ancestor);
    }
    let pids: Vec<u32> = segment.ancestry(last).map(|ancestor| ancestor.pid).collect();
    assert_eq!(pids, (5..=20).rev().collect::<Vec<_>>());
    assert_eq!(segment.ancestry(0).count(), 0);
}

#[test]
fn a_copy_and_a_sealed_segment_read_alike() {
    let mut segment = filled(100..400);
    let copy = segment.read_only();
    segment.seal();
    for index in 0..300 {
        assert_eq!(segment.keys(index), copy.keys(index));
        assert_eq!(segment.seq(index), copy.seq(index));
        assert_eq!(segment.record(index).unwrap().0, copy.record(index).unwrap().0);
    }
    // Number, pid, parent, second, process id and path.
    assert!(segment.bytes() >= 300 * (size_of::<Plain>() + 4 * 4 + 8 + 2));
}
