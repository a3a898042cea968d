use proptest::prelude::*;

use super::*;
use crate::audit::record::hex;

/// Taken from a live kernel (6.18).
fn corpus() -> Vec<Vec<u8>> {
    let text = include_str!("../../../tests/corpus/connector/frames.txt");
    text.lines().map(|line| hex(line.as_bytes()).unwrap()).collect()
}

#[test]
fn every_frame_of_the_corpus_is_understood() {
    let frames: Vec<Frame> = corpus().iter().map(|frame| decode(frame).unwrap()).collect();
    assert_eq!(frames[0].event, Event::Answer { error: 0 });
    let some = |is: fn(&Event) -> bool| frames.iter().any(|frame| is(&frame.event));
    assert!(some(|event| matches!(event, Event::Fork { parent_tgid, child_pid, child_tgid, .. }
        if child_pid == child_tgid && parent_tgid != child_tgid)));
    assert!(some(|event| matches!(event, Event::Exec { pid, tgid } if pid == tgid)));
    assert!(some(|event| matches!(event, Event::Exit { code: 0, .. })));
    assert!(some(|event| matches!(event, Event::Uid { real: 65534, effective: 65534, .. })));
    assert!(some(|event| matches!(event, Event::Gid { real: 65534, effective: 65534, .. })));
}

#[test]
fn the_numbers_of_each_processor_have_no_hole() {
    let mut gaps = super::super::gaps::Gaps::default();
    let mut next = std::collections::HashMap::new();
    for frame in corpus().iter().take(60).map(|frame| decode(frame).unwrap()) {
        assert!(frame.is_numbered());
        if let Some(expected) = next.insert(frame.cpu, frame.sequence + 1) {
            assert_eq!(frame.sequence, expected);
        }
        assert_eq!(gaps.see(frame.cpu, frame.sequence), 0);
    }
    assert!(!next.is_empty());
}

#[test]
fn a_frame_cut_anywhere_is_malformed_or_lacks_only_what_is_not_read() {
    for frame in corpus() {
        let whole = decode(&frame).unwrap();
        for length in 0..frame.len() {
            match decode(&frame[..length]) {
                Ok(cut) => assert_eq!(cut, whole),
                Err(error) => assert_eq!(error, Malformed::Short(length)),
            }
        }
    }
}

#[test]
fn another_connector_user_is_not_taken_for_the_process_connector() {
    let mut frame = corpus().remove(1);
    frame[0] = 7;
    assert_eq!(decode(&frame), Err(Malformed::Id(7, 1)));
}

#[test]
fn a_request_is_what_the_kernel_reads() {
    // struct cn_msg { idx, val, seq, ack, len, flags } and enum proc_cn_mcast_op.
    let words: Vec<u32> =
        request(true).chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
    assert_eq!(words, [1, 1, 0, 0, 4, 1]);
    assert_eq!(request(false)[20], 2);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_are_an_event_or_malformed(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = decode(&bytes);
        let mut framed = request(true);
        framed.extend_from_slice(&bytes);
        let _ = decode(&framed);
    }
}
