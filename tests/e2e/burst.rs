//! What happens when more comes than anyone expects: rows and counted losses still add up, whatever
//! the source.

mod root {
    use osquery_ebpf_tests::{Row, rows_with, text, workload};

    const EXECUTIONS: u64 = 30_000;

    /// Where an execution that is no row may have been counted.
    const LOSSES: [&str; 5] = ["lost_ring", "lost_missed", "malformed", "evicted", "expired"];

    fn known(row: &Row, column: &str) -> Option<u64> {
        match text(row, column) {
            "" => None,
            number => Some(number.parse().unwrap_or_else(|_| panic!("{column} of {row:#?}"))),
        }
    }

    fn number(row: &Row, column: &str) -> u64 {
        known(row, column).unwrap_or_else(|| panic!("no {column} in {row:#?}"))
    }

    /// Executes 30,000 times while one source watches. Its health, `seen` rows of those executions,
    /// and of how many the arguments are `named`.
    fn burst(source: &str) -> Row {
        let workload = workload();
        let workload = workload.display();
        let mut rows = rows_with(
            &["--source", source],
            &format!("{workload} burst {EXECUTIONS} --workers 2 {workload} noop"),
            &format!(
                "SELECT (SELECT count(*) FROM process_events WHERE parent IN (
                             SELECT pid FROM process_events
                             WHERE cmdline LIKE '{workload} burst %')) AS seen,
                        (SELECT count(*) FROM process_events
                         WHERE cmdline = '{workload} noop') AS named,
                        source, lost_ring, lost_missed, malformed, evicted, expired, produced,
                        received, stored, excluded, held, pending
                 FROM ebpf_events_health WHERE kind = 'exec'"
            ),
        );
        assert_eq!(rows.len(), 1, "{rows:#?}");
        let row = rows.remove(0);
        assert_eq!(text(&row, "source"), source);
        row
    }

    /// Each execution is a row or a loss that is counted somewhere, and every stage adds up.
    fn add_up(row: &Row, seen: u64) {
        let lost: u64 = LOSSES.into_iter().map(|column| number(row, column)).sum();
        let where_lost = LOSSES.map(|column| format!("{column} {}", number(row, column)));
        println!(
            "{}: of {EXECUTIONS} executions {seen} rows, {lost} counted as lost ({}); the arguments \
             of {}",
            text(row, "source"),
            where_lost.join(", "),
            number(row, "named"),
        );
        if lost == 0 {
            assert_eq!(seen, EXECUTIONS, "{row:#?}");
        } else {
            // Other programs of this host execute too, and may be among the lost: at least, not exactly.
            assert!(seen <= EXECUTIONS, "more rows than executions: {row:#?}");
            assert!(seen + lost >= EXECUTIONS, "uncounted losses: {row:#?}");
        }
        if let Some(produced) = known(row, "produced") {
            assert_eq!(produced, number(row, "received") + number(row, "lost_ring"), "{row:#?}");
        }
        assert_eq!(
            number(row, "received"),
            number(row, "malformed")
                + number(row, "excluded")
                + number(row, "pending")
                + number(row, "stored"),
            "{row:#?}"
        );
        assert_eq!(
            number(row, "stored"),
            number(row, "held") + number(row, "evicted") + number(row, "expired"),
            "{row:#?}"
        );
    }

    #[test]
    fn of_thirty_thousand_executions_bpf_has_each_as_a_row_or_a_counted_loss() {
        let row = burst("bpf");
        add_up(&row, number(&row, "seen"));
        assert!(known(&row, "produced").is_some(), "{row:#?}");
        assert_eq!(number(&row, "named"), number(&row, "seen"));
    }

    #[test]
    fn of_thirty_thousand_executions_audit_has_each_as_a_row_or_a_counted_loss() {
        let row = burst("audit");
        add_up(&row, number(&row, "seen"));
        // What audit lost the connector may have told of, without arguments.
        assert!(number(&row, "named") <= number(&row, "seen"), "{row:#?}");
        assert_ne!(number(&row, "named"), 0, "{row:#?}");
    }

    /// It looks up what was executed, which may have ended by then: the row is there all the same. Of
    /// one or two the parent is not known either, so it is rows that are counted, not children.
    #[test]
    fn of_thirty_thousand_executions_the_connector_has_each_as_a_row_or_a_counted_loss() {
        let row = burst("connector");
        // Beside them the shell and who executed them; others of this host may have executed, too.
        add_up(&row, number(&row, "held").saturating_sub(2).min(EXECUTIONS));
        assert!(number(&row, "seen") > EXECUTIONS - EXECUTIONS / 1000, "{row:#?}");
        assert_ne!(number(&row, "named"), 0, "{row:#?}");
    }
}
