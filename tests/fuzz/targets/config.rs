//! osquery's configuration: sources, one behind the other and parted by a zero byte, and our section
//! of what they make together.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use osquery_ebpf::config::{merge, read_section};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let sources: BTreeMap<String, String> = text
        .split('\0')
        .enumerate()
        .map(|(number, source)| (number.to_string(), source.to_owned()))
        .collect();
    let document = merge(&sources);
    assert!(document.value.is_object());
    assert!(document.problems.len() <= sources.len());
    let (_settings, problems) = read_section(&document.value);
    assert!(problems.iter().all(|problem| !problem.what.is_empty()));
});
