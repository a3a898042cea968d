//! Writes what each target begins with: `seeds FOLDER` makes `FOLDER/TARGET/…`.

use std::fs;
use std::path::Path;

// What all code here is built to call.
use libfuzzer_sys as _;
use osquery_ebpf_probes::wire;
use thrift::protocol::{
    TBinaryOutputProtocol, TFieldIdentifier, TMapIdentifier, TMessageIdentifier, TMessageType,
    TOutputProtocol, TStructIdentifier, TType,
};

const AUDIT: [&str; 4] = [
    include_str!("../../../probes/tests/corpus/audit/exec.txt"),
    include_str!("../../../probes/tests/corpus/audit/file.txt"),
    include_str!("../../../probes/tests/corpus/audit/ids.txt"),
    include_str!("../../../probes/tests/corpus/audit/socket.txt"),
];
const FRAMES: &str = include_str!("../../../probes/tests/corpus/connector/frames.txt");

const CONTEXTS: [&str; 3] = [
    r#"{"constraints":[{"name":"pid","list":[{"op":2,"expr":"1"}],"affinity":"BIGINT"}],"colsUsed":["pid","path"],"colsUsedBitset":3}"#,
    r#"{"constraints":[{"name":"time","list":[{"op":"4","expr":"0"},{"op":73,"expr":5}]}],"colsUsedBitset":"18446744073709551615"}"#,
    r#"{"constraints":[{"name":"path","list":[{"op":65,"expr":"/usr/%"},{"op":66,"expr":"/u[s]*?"},{"op":67,"expr":"^/u(s|r)+$"},{"op":71,"expr":""}]},{"name":"eid","list":""}]}"#,
];

const CONFIGS: [&str; 2] = [
    r#"{"file_paths":{"etc":["/etc/%%"]},"exclude_paths":{"etc":["/etc/ld%"]},"ebpf_events":{"source":"auto","process_events":["exec","setid"],"max_events":100000,"max_bytes":"64M","max_age":"1h"}}"#,
    "// words\n{\"ebpf_events\":{\"exclude_addresses\":[\"10.0.0.0/8\",\"::1\"],\"ring_process\":\"1M\",\"grace\":60}}\0{\"ebpf_events\":null}",
];

fn hex(text: &str) -> Vec<u8> {
    let digits = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    (0..text.len() / 2).map_while(|index| digits(index * 2)).collect()
}

/// One event's records each: those with the same stamp.
fn events(corpus: &str) -> Vec<String> {
    let stamp = |line: &str| line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut events: Vec<(String, String)> = Vec::new();
    for line in corpus.lines() {
        match events.iter_mut().find(|(of, _)| *of == stamp(line)) {
            Some((_, lines)) => *lines += &format!("\n{line}"),
            None => events.push((stamp(line), line.to_owned())),
        }
    }
    events.into_iter().map(|(_, lines)| lines).collect()
}

/// A record of each type, of the length it must have, with a little behind it.
fn records() -> Vec<Vec<u8>> {
    let sizes = [
        size_of::<wire::Exec>(),
        size_of::<wire::Fork>(),
        size_of::<wire::Exit>(),
        size_of::<wire::Setid>(),
        size_of::<wire::Namespace>(),
        size_of::<wire::Socket>(),
        size_of::<wire::Connection>(),
    ];
    let types = [
        wire::EXEC,
        wire::FORK,
        wire::EXIT,
        wire::SETID,
        wire::NAMESPACE,
        wire::SOCKET,
        wire::CONNECTION,
    ];
    let made = types.into_iter().zip(sizes).map(|(kind, size)| {
        let behind = b"/usr/bin/env\0-i\0";
        // SAFETY is not needed: a header of zeroes is read from bytes.
        let mut header: wire::Header =
            wire::read(&vec![0; size_of::<wire::Header>()]).expect("as long as it is");
        header.r#type = u16::try_from(kind).expect("small");
        header.length = u32::try_from(size + behind.len()).expect("small");
        let mut bytes = wire::bytes_of(&header).to_vec();
        bytes.resize(size, 0);
        bytes.extend_from_slice(behind);
        bytes
    });
    made.collect()
}

fn call(registry: &str, item: &str, request: &[(&str, &str)]) -> thrift::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut output = TBinaryOutputProtocol::new(&mut bytes, true);
    output.write_message_begin(&TMessageIdentifier::new("call", TMessageType::Call, 1))?;
    output.write_struct_begin(&TStructIdentifier::new("args"))?;
    for (id, text) in [(1, registry), (2, item)] {
        output.write_field_begin(&TFieldIdentifier::new("", TType::String, id))?;
        output.write_string(text)?;
        output.write_field_end()?;
    }
    output.write_field_begin(&TFieldIdentifier::new("request", TType::Map, 3))?;
    let size = i32::try_from(request.len()).unwrap_or(0);
    output.write_map_begin(&TMapIdentifier::new(TType::String, TType::String, size))?;
    for (key, value) in request {
        output.write_string(key)?;
        output.write_string(value)?;
    }
    output.write_map_end()?;
    output.write_field_end()?;
    output.write_field_stop()?;
    output.write_struct_end()?;
    output.write_message_end()?;
    output.flush()?;
    Ok(bytes)
}

fn ping() -> thrift::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut output = TBinaryOutputProtocol::new(&mut bytes, true);
    output.write_message_begin(&TMessageIdentifier::new("ping", TMessageType::Call, 7))?;
    output.write_field_stop()?;
    output.flush()?;
    Ok(bytes)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: seeds FOLDER")?;
    let mut all: Vec<(&str, Vec<Vec<u8>>)> = Vec::new();
    let audit = AUDIT.iter().flat_map(|corpus| events(corpus)).map(String::into_bytes);
    all.push(("audit", audit.collect()));
    let framed = |frame: &Vec<u8>| {
        let length = u8::try_from(frame.len()).unwrap_or(u8::MAX);
        [&[length], frame.as_slice()].concat()
    };
    let frames: Vec<Vec<u8>> = FRAMES.lines().map(|line| framed(&hex(line))).collect();
    let together = frames.concat();
    all.push(("connector", frames.into_iter().chain([together]).collect()));
    all.push(("bpf", records()));
    let table = "ebpf_process_events";
    let mut messages = vec![ping()?, call("table", table, &[("action", "columns")])?];
    for context in CONTEXTS {
        messages.push(call("table", table, &[("action", "generate"), ("context", context)])?);
    }
    messages.push(messages.concat());
    all.push(("thrift", messages));
    let contexts = CONTEXTS.iter().enumerate().map(|(number, context)| {
        let which = u8::try_from(number).unwrap_or(0);
        [&[which], context.as_bytes()].concat()
    });
    all.push(("context", contexts.collect()));
    all.push(("config", CONFIGS.iter().map(|config| config.as_bytes().to_vec()).collect()));
    for (target, seeds) in all {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("{number:03}")), seed)?;
        }
        println!("{target}: {} seeds", seeds.len());
    }
    Ok(())
}
