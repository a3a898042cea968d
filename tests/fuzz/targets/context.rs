//! The constraints and columns of a query, as the text osquery sends. The first byte chooses the
//! table; what is understood is asked of it.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use osquery_ebpf::plugin::parse_context;
use osquery_ebpf_probes::clock::BootId;
use osquery_ebpf_tables::options::Options;
use osquery_ebpf_tables::scan::{Caller, Request, Tables as _};
use osquery_ebpf_tables::{EventTables, HostFacts};

static TABLES: LazyLock<Arc<EventTables>> = LazyLock::new(|| {
    let host =
        HostFacts { boot_id: BootId(1), kernel: String::new(), btf: String::new(), mnt_ns: None };
    let Ok(tables) = EventTables::new(Options::default(), host) else { std::process::abort() };
    tables.seed();
    tables
});

fuzz_target!(|data: &[u8]| {
    let Some((&which, text)) = data.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let tables = TABLES.tables();
    let table = tables[usize::from(which) % tables.len()];
    let Ok((constraints, columns)) = parse_context(table, text) else { return };
    assert!(constraints.iter().all(|constraint| constraint.column < table.columns.len()));
    assert!(columns.iter().flatten().all(|&column| column < table.columns.len()));
    let asked = columns.clone();
    let request = Request { constraints, columns, caller: Caller::AdHoc };
    let rows = TABLES.scan(table.name, &request).unwrap();
    for index in 0..rows.len() {
        rows.row(index, &mut |name, _| {
            let column = table.column(name).unwrap();
            assert!(asked.as_ref().is_none_or(|asked| asked.contains(&column)));
        });
    }
});
