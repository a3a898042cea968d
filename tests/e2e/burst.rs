//! What happens when more comes than anyone expects: rows and counted losses still add up.

mod root {
    use osquery_ebpf_tests::{rows_after, text, workload};

    fn number(row: &osquery_ebpf_tests::Row, column: &str) -> u64 {
        text(row, column).parse().unwrap_or_else(|_| panic!("{column} of {row:#?}"))
    }

    #[test]
    fn of_thirty_thousand_executions_each_is_a_row_or_a_counted_loss() {
        let workload = workload();
        let workload = workload.display();
        let rows = rows_after(
            &format!("{workload} burst 30000 --workers 2 {workload} noop"),
            &format!(
                "SELECT (SELECT count(*) FROM process_events WHERE cmdline = '{workload} noop') AS seen,
                        lost_ring, lost_missed, malformed, evicted, expired, produced, received,
                        stored, excluded, held
                 FROM ebpf_events_health WHERE kind = 'exec'"
            ),
        );
        let [row] = rows.as_slice() else { panic!("{rows:#?}") };
        let seen = number(row, "seen");
        let lost = number(row, "lost_ring")
            + number(row, "lost_missed")
            + number(row, "malformed")
            + number(row, "evicted")
            + number(row, "expired");
        println!("30,000 executions: {seen} rows, {lost} counted as lost; {row:?}");
        // Other programs of this host execute too, and may be among the lost: at least, not exactly.
        assert!(seen <= 30_000, "more rows than executions: {row:#?}");
        assert!(seen + lost >= 30_000, "uncounted losses: {row:#?}");
        assert_eq!(number(row, "produced"), number(row, "received") + number(row, "lost_ring"));
        assert_eq!(
            number(row, "received"),
            number(row, "malformed") + number(row, "excluded") + number(row, "stored")
        );
        assert_eq!(
            number(row, "stored"),
            number(row, "held") + number(row, "evicted") + number(row, "expired")
        );
    }
}
