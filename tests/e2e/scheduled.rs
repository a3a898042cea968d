//! Scheduled queries over live events: each event exactly once for each query, whatever the others do.

mod root {
    use std::collections::{BTreeMap, BTreeSet};

    use osquery_ebpf_tests::{Row, Scratch, rows_with, text, workload};
    use serde_json::json;

    /// A query's result lines: how many executions had rows, and the event ids in order.
    #[derive(Default)]
    struct Results {
        executions: BTreeSet<u64>,
        eids: Vec<u64>,
    }

    #[test]
    fn every_event_comes_once_to_each_query_and_is_still_there_for_a_prompt() {
        let scratch = Scratch::new("scheduled");
        let (config, results) = (scratch.join("config.json"), scratch.join("results.log"));
        let plain = "SELECT eid FROM process_events";
        let itself = "SELECT a.eid FROM process_events a JOIN process_events b \
                      ON a.pid = b.pid AND a.eid = b.eid";
        std::fs::write(
            &config,
            json!({ "schedule": {
                "each_second": { "query": plain, "interval": 1 },
                "each_other": { "query": plain, "interval": 2 },
                "self_join": { "query": itself, "interval": 2 },
            } })
            .to_string(),
        )
        .unwrap();
        let workload = workload();
        let workload = workload.display();
        // Events keep coming for longer than five executions of the slower queries take.
        let rows = rows_with(
            &["--config", config.to_str().unwrap(), "--results", results.to_str().unwrap()],
            &format!(
                "for second in 1 2 3 4 5 6 7 8 9 10 11 12 13; do
                     {workload} burst 40 {workload} noop; sleep 1
                 done"
            ),
            "SELECT eid FROM process_events",
        );
        let at_the_prompt: BTreeSet<u64> =
            rows.iter().map(|row| text(row, "eid").parse().unwrap()).collect();
        assert!(at_the_prompt.len() > 500, "{}", at_the_prompt.len());
        assert_eq!(at_the_prompt.first(), Some(&1), "a prompt sees the buffer from its beginning");

        let mut queries: BTreeMap<String, Results> = BTreeMap::new();
        for line in std::fs::read_to_string(&results).unwrap().lines() {
            let line: Row = serde_json::from_str(line).unwrap();
            assert_eq!(text(&line, "action"), "added", "events are never taken back: {line:?}");
            let query = queries.entry(text(&line, "name").to_owned()).or_default();
            query.executions.insert(line["counter"].as_u64().unwrap());
            let eid = line["columns"]["eid"].as_str().unwrap();
            query.eids.push(eid.parse().unwrap());
        }
        assert_eq!(queries.len(), 3, "{:?}", queries.keys());
        for (name, Results { executions, eids }) in queries {
            assert!(executions.len() >= 5, "{name}: {executions:?}");
            let mut sorted = eids.clone();
            sorted.sort_unstable();
            // Ids are given without gaps: what a query had is 1, 2, 3 … up to its last execution.
            let expected: Vec<u64> = (1..=sorted.len() as u64).collect();
            assert_eq!(sorted, expected, "{name}: an event was given twice or not at all");
            assert!(sorted.len() > 400, "{name} had {} of {}", sorted.len(), at_the_prompt.len());
        }
    }
}
