//! What comes out of a BPF ring, one record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osquery_ebpf_probes::decode::{decode, type_of};

fuzz_target!(|data: &[u8]| {
    let event = decode(data);
    assert_eq!(event, decode(data));
    if event.is_ok() {
        assert!(type_of(data).is_some());
    }
});
