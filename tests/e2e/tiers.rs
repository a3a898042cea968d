//! What health says of the tier in force, and of why it is not the first, whoever chose it.

mod root {
    use osquery_ebpf_tests::{Row, rows_with, text};

    /// Health after a run in which a tier was asked for, or none.
    fn health(tier: &[&str]) -> Vec<Row> {
        let mut options = vec!["--process-events=exec,fork,setid,namespace"];
        options.extend(tier);
        rows_with(&options, "true", "SELECT * FROM ebpf_events_health")
    }

    fn of<'rows>(rows: &'rows [Row], kind: &str) -> &'rows Row {
        let found: Vec<_> = rows.iter().filter(|row| text(row, "kind") == kind).collect();
        let [row] = found.as_slice() else { panic!("one row of {kind} expected: {rows:#?}") };
        row
    }

    #[test]
    fn tracepoints_that_were_asked_for_are_named_with_what_they_do_not_see() {
        let health = health(&["--tier=2"]);
        let socket = of(&health, "socket");
        assert_eq!((text(socket, "source"), text(socket, "tier")), ("bpf", "tracepoint"));
        for part in [
            "connect, bind, listen, accept: tracepoint probes were asked for, and no others",
            "do not see 32-bit programs and io_uring",
        ] {
            assert!(text(socket, "reason").contains(part), "{socket:#?}");
        }
        assert_eq!(text(socket, "probes_failed"), "0");
    }

    #[test]
    fn functions_that_were_asked_for_are_there_or_missing_with_the_reason() {
        let missing = text(of(&health(&[]), "socket"), "tier") != "fentry";
        let health = health(&["--tier=1"]);
        let socket = of(&health, "socket");
        if missing {
            assert_eq!(text(socket, "tier"), "tp_btf", "{socket:#?}");
            assert_eq!(text(socket, "probes_failed"), "4", "{socket:#?}");
            let parts = ["fentry probes were asked for", "attaches no programs to functions"];
            assert!(parts.iter().all(|part| text(socket, "reason").contains(part)), "{socket:#?}");
        } else {
            assert_eq!(text(socket, "tier"), "fentry", "{socket:#?}");
            assert_eq!(text(socket, "reason"), "", "{socket:#?}");
        }
    }

    /// There is but one way to see them, so no tier can be asked for.
    #[test]
    fn kinds_without_a_choice_have_the_same_tier_whatever_is_asked_for() {
        let asked = [&[][..], &["--tier=1"], &["--tier=2"]].map(health);
        for kind in ["exec", "fork", "exit", "setid", "namespace", "file"] {
            let rows = asked.each_ref().map(|rows| of(rows, kind));
            for column in ["source", "tier", "reason", "probes_attached"] {
                let told = rows.map(|row| text(row, column));
                assert_eq!([told[0]; 3], told, "{kind}.{column}");
            }
            let calls = ["setid", "namespace"].contains(&kind);
            assert_eq!(text(rows[0], "tier") == "tracepoint", calls, "{rows:#?}");
            let sees_all = !text(rows[0], "reason").contains("do not see 32-bit programs");
            assert_eq!(sees_all, !calls, "{rows:#?}");
        }
    }
}
