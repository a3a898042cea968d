//! Socket calls and the fate of connections. What is expected is what `workload` says it did.

mod root {
    use osquery_ebpf_tests::{Row, Scratch, rows_after, text, workload};
    use serde_json::Value;

    /// What `workload` printed, and the rows about it.
    fn observed(work: &str) -> (Value, Vec<Row>) {
        let scratch = Scratch::new(&format!("socket-{}", work.replace(' ', "")));
        let said = scratch.join("said");
        let rows = rows_after(
            &format!("{} {work} >{}", workload().display(), said.display()),
            "SELECT * FROM socket_events WHERE path LIKE '%/workload' ORDER BY eid",
        );
        (serde_json::from_str(&std::fs::read_to_string(said).unwrap()).unwrap(), rows)
    }

    fn of<'rows>(rows: &'rows [Row], action: &str) -> &'rows Row {
        let found: Vec<_> = rows.iter().filter(|row| text(row, "action") == action).collect();
        let [row] = found.as_slice() else { panic!("one {action} expected: {rows:#?}") };
        row
    }

    /// Asserts that a row has the ends that the witness names.
    fn assert_ends(row: &Row, said: &Value, columns: &[&str]) {
        for column in columns {
            let expected = match &said[*column] {
                Value::String(address) => address.clone(),
                other => other.to_string(),
            };
            assert_eq!(text(row, column), expected, "{column} of {row:#?}");
        }
    }

    const BOTH: [&str; 4] = ["local_address", "local_port", "remote_address", "remote_port"];
    const REMOTE: [&str; 2] = ["remote_address", "remote_port"];

    #[test]
    fn a_refused_connect_is_not_a_success() {
        let (said, rows) = observed("connect --to nobody");
        let row = of(&rows, "connect");
        assert_ends(row, &said, &REMOTE);
        assert_eq!(text(row, "status"), "failed");
        assert_eq!(text(row, "success"), "0");
        assert_eq!(text(row, "outcome"), "refused");
        assert_eq!(text(row, "family"), "2");
        assert_eq!(text(row, "protocol"), "6");
    }

    #[test]
    fn a_successful_connect_has_both_ends() {
        let (said, rows) = observed("connect --to listener");
        let row = of(&rows, "connect");
        assert_ends(row, &said, &BOTH);
        assert_eq!(text(row, "status"), "succeeded");
        assert_eq!(text(row, "success"), "1");
        assert_eq!(text(row, "outcome"), "established");
    }

    #[test]
    fn a_nonblocking_connect_is_in_progress_and_its_outcome_is_told() {
        let (said, rows) = observed("connect --to listener --nonblocking");
        let row = of(&rows, "connect");
        assert_ends(row, &said, &REMOTE);
        assert_ends(row, &said, &["local_port"]);
        assert_eq!(text(row, "status"), "in_progress");
        assert_eq!(text(row, "outcome"), "established");
        let (said, rows) = observed("connect --to nobody --nonblocking");
        assert_eq!(said["outcome"], 111);
        let row = of(&rows, "connect");
        assert_ends(row, &said, &REMOTE);
        assert_eq!(text(row, "outcome"), "refused");
    }

    #[test]
    fn an_ipv6_connect_has_rfc_5952_addresses() {
        let (said, rows) = observed("connect --to listener --v6");
        let row = of(&rows, "connect");
        assert_ends(row, &said, &BOTH);
        assert_eq!(text(row, "remote_address"), "::1");
        assert_eq!(text(row, "family"), "10");
    }

    #[test]
    fn bind_listen_and_accept_are_three_rows_with_their_ends() {
        let (said, rows) = observed("accept");
        let bind = of(&rows, "bind");
        assert_eq!(text(bind, "local_address"), "127.0.0.1");
        assert_eq!(text(bind, "status"), "succeeded");
        let listen = of(&rows, "listen");
        assert_ends(listen, &said, &["local_address", "local_port"]);
        let accept = of(&rows, "accept");
        assert_ends(accept, &said, &BOTH);
        assert_eq!(text(accept, "status"), "succeeded");
        let connect = of(&rows, "connect");
        assert_eq!(text(connect, "local_port"), text(accept, "remote_port"));
    }

    #[test]
    fn an_accept_that_nobody_answers_has_no_client() {
        let (said, rows) = observed("accept-nobody");
        let accept = of(&rows, "accept");
        assert_eq!(text(accept, "status"), "no_client");
        assert_ends(accept, &said, &["local_port"]);
        assert_eq!(text(accept, "remote_address"), "");
    }

    #[test]
    fn a_udp_connect_is_seen() {
        let (said, rows) = observed("connect-udp");
        let row = of(&rows, "connect");
        assert_ends(row, &said, &BOTH);
        assert_eq!(text(row, "protocol"), "17");
        assert_eq!(text(row, "status"), "succeeded");
    }

    #[test]
    fn a_socket_row_knows_its_process() {
        let rows = rows_after(
            &format!("{} connect --to listener", workload().display()),
            "SELECT s.pid, s.path, s.cmdline, s.process_id, p.process_id AS of_exec, p.path AS exec_path
             FROM socket_events s JOIN process_events p ON p.pid = s.pid
             WHERE s.action = 'connect' AND p.path LIKE '%/workload'",
        );
        let [row] = rows.as_slice() else { panic!("{rows:#?}") };
        assert_eq!(text(row, "path"), text(row, "exec_path"));
        assert_eq!(text(row, "process_id"), text(row, "of_exec"));
        assert!(text(row, "cmdline").ends_with("connect --to listener"));
    }
}
