//! File events of watched directories, with the process that caused them. The names of the files
//! say what `workload files` did to them.

mod root {
    use osquery_ebpf_tests::{Row, Scratch, rows_with, text, workload};

    struct Watched {
        scratch: Scratch,
        rows: Vec<Row>,
    }

    /// Every operation in a watched directory, and again in one beside it that nobody watches.
    fn observed(name: &str, sql: &str) -> Watched {
        let scratch = Scratch::new(name);
        let directory = |name: &str| {
            let path = scratch.join(name);
            std::fs::create_dir(&path).unwrap();
            path.display().to_string()
        };
        let (watched, other) = (directory("watched"), directory("other"));
        let config = scratch.join("config.json");
        std::fs::write(&config, format!(r#"{{"file_paths": {{"tests": ["{watched}/%%"]}}}}"#))
            .unwrap();
        let workload = workload();
        let command = format!("{0} files {watched}; {0} files {other}", workload.display());
        let rows = rows_with(&["--config", config.to_str().unwrap()], &command, sql);
        Watched { scratch, rows }
    }

    impl Watched {
        /// The actions seen on one name of the watched directory, in order.
        fn actions(&self, name: &str) -> Vec<&str> {
            let path = self.scratch.join("watched").join(name).display().to_string();
            self.rows
                .iter()
                .filter(|row| text(row, "target_path") == path)
                .map(|row| text(row, "action"))
                .collect()
        }
    }

    #[test]
    fn each_operation_on_a_watched_directory_is_its_action() {
        let watched = observed(
            "file-actions",
            "SELECT target_path, category, action, path, pid, cmdline, uid FROM file_events ORDER BY eid",
        );
        let has = |name: &str, action: &str| {
            let actions = watched.actions(name);
            assert!(
                actions.contains(&action),
                "{action} of {name}: {actions:?}\n{:#?}",
                watched.rows
            );
        };
        has("created", "CREATED");
        has("written", "CREATED");
        has("written", "UPDATED");
        has("to-unlink", "DELETED");
        has("rename-from", "MOVED_FROM");
        has("rename-to", "MOVED_TO");
        has("link-to", "LINKED");
        has("symlink", "CREATED");
        has("made-directory", "CREATED");
        has("to-rmdir", "DELETED");
        has("mode-changed", "ATTRIBUTES_MODIFIED");
        has("owner-changed", "ATTRIBUTES_MODIFIED");
        has("truncated", "UPDATED");
        for row in &watched.rows {
            assert_eq!(text(row, "category"), "tests");
            assert!(text(row, "path").ends_with("/workload"), "{row:#?}");
            assert!(text(row, "cmdline").ends_with("/watched"), "{row:#?}");
        }
    }

    #[test]
    fn nothing_of_an_unwatched_directory_is_shown() {
        let watched = observed(
            "file-unwatched",
            "SELECT target_path, dest_path FROM file_events WHERE target_path LIKE '%/other/%'
             OR dest_path LIKE '%/other/%'",
        );
        assert_eq!(watched.rows, Vec::<Row>::new());
    }

    #[test]
    fn process_file_events_has_the_same_events_in_the_cores_columns() {
        let watched = observed(
            "file-process",
            "SELECT p.operation, p.executable, p.path, p.pid, p.uid, f.action, f.target_path
             FROM process_file_events p JOIN file_events f ON f.eid = p.eid",
        );
        let counted = observed(
            "file-process-count",
            // A rename is two rows of file_events, as in the core, and one here.
            "SELECT (SELECT count(*) FROM file_events WHERE action <> 'MOVED_TO') AS files,
                    (SELECT count(*) FROM process_file_events) AS of_processes",
        );
        assert_eq!(text(&counted.rows[0], "files"), text(&counted.rows[0], "of_processes"));
        assert!(watched.rows.len() > 15, "{:#?}", watched.rows);
        for row in &watched.rows {
            assert!(text(row, "executable").ends_with("/workload"), "{row:#?}");
            assert_eq!(text(row, "uid"), "0");
            assert_ne!(text(row, "operation"), "");
        }
    }
}
