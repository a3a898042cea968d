//! What is left out, is left out in the kernel where that can decide, and is counted there.
//!
//! Every connect is to a port of this test's own on which nobody listens: one call, one event.

#![expect(clippy::unwrap_used, reason = "a test, and what helps it, may and should fail loudly")]

#[expect(dead_code, reason = "not all of it is needed here")]
mod support;

mod root {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::Command;

    use crate::support::{Service, count, eventually, serve};

    const CONNECTS: i64 = 40;
    const SOMEBODY: u32 = 12_345;
    /// The host itself, by the two ways it is reached here: what is excluded, and our own marks.
    const V4: &str = "127.0.0.1";
    const V6: &str = "::1";

    struct Rig(Service);

    fn rig(exclude: &str) -> Rig {
        let rig = Rig(serve(&config(exclude, true), &["--source=bpf", "--refresh=1"]));
        rig.wait_for_setid(true);
        rig
    }

    /// What it asks for of changes of ids tells in health which configuration is in force.
    fn config(exclude: &str, setid: bool) -> String {
        let kinds = if setid { r#""exec", "setid""# } else { r#""exec""# };
        format!(r#"{{"ebpf_events": {{"process_events": [{kinds}], {exclude}}}}}"#)
    }

    impl Rig {
        /// Until the configuration is in force, which is asked for every second.
        fn wait_for_setid(&self, served: bool) {
            let sql =
                "SELECT coalesce(source, '') = 'bpf' FROM ebpf_events_health WHERE kind = 'setid'";
            let served = Some(i64::from(served));
            eventually("the configuration", || count(&self.0.host, sql) == served);
            self.flush();
        }

        fn rows(&self, address: &str, port: u16) -> i64 {
            let sql = format!(
                "SELECT count(*) FROM socket_events WHERE remote_address = '{address}' \
                 AND remote_port = {port}"
            );
            count(&self.0.host, &sql).unwrap()
        }

        fn of(&self, kind: &str, column: &str) -> i64 {
            let sql = format!("SELECT {column} FROM ebpf_events_health WHERE kind = '{kind}'");
            count(&self.0.host, &sql).unwrap()
        }

        /// Waits until a mark of ours, made by what nothing excludes, has come through.
        fn flush(&self) {
            let port = nobody("[::1]:0");
            assert!(TcpStream::connect((V6, port)).is_err());
            eventually("the last event", || self.rows(V6, port) == 1);
        }
    }

    /// A port on which nobody listens.
    fn nobody(address: &str) -> u16 {
        TcpListener::bind(address).unwrap().local_addr().unwrap().port()
    }

    fn connects(shell: &Path, port: u16, user: u32) {
        let script = format!(
            "for ((i = 0; i < {CONNECTS}; i++)); do exec 3<>/dev/tcp/127.0.0.1/{port}; \
             read -t 0.05 <> <(:); done 2>/dev/null; true"
        );
        let status =
            Command::new(shell).args(["-c", &script]).uid(user).gid(user).status().unwrap();
        assert!(status.success());
    }

    const BASH: &str = "/bin/bash";

    #[test]
    fn an_excluded_users_connects_never_reach_the_ring_and_each_is_counted() {
        let rig = rig(&format!(r#""exclude_uids": [{SOMEBODY}]"#));
        let port = nobody("127.0.0.1:0");
        let (before, sent) = (rig.of("socket", "filtered_kernel"), rig.of("socket", "excluded"));
        connects(Path::new(BASH), port, SOMEBODY);
        rig.flush();
        assert_eq!(rig.rows(V4, port), 0);
        assert_eq!(rig.of("socket", "excluded"), sent, "it came up here all the same");
        let filtered = rig.of("socket", "filtered_kernel") - before;
        assert!(filtered >= CONNECTS, "{filtered}");
        // Of the processes the records are needed, and rows are left out here.
        let sql = format!("SELECT count(*) FROM process_events WHERE uid = {SOMEBODY}");
        assert_eq!(count(&rig.0.host, &sql), Some(0));
        connects(Path::new(BASH), port, SOMEBODY + 1);
        rig.flush();
        assert_eq!(rig.rows(V4, port), CONNECTS, "others are seen");
    }

    #[test]
    fn an_excluded_network_is_left_out_in_the_kernel_until_the_configuration_changes() {
        let rig = rig(r#""exclude_addresses": ["127.0.0.0/8", "2001:db8::/32"]"#);
        let port = nobody("127.0.0.1:0");
        let (before, sent) = (rig.of("socket", "filtered_kernel"), rig.of("socket", "excluded"));
        connects(Path::new(BASH), port, 0);
        // As a v4-mapped address it is the same peer.
        assert!(TcpStream::connect(("::ffff:127.0.0.1", port)).is_err());
        rig.flush();
        assert_eq!(rig.rows(V4, port), 0);
        assert_eq!(rig.of("socket", "excluded"), sent, "it came up here all the same");
        let filtered = rig.of("socket", "filtered_kernel") - before;
        assert!(filtered > CONNECTS, "{filtered}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepting = listener.local_addr().unwrap();
        let client = TcpStream::connect(accepting).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
        rig.flush();
        let sql = format!(
            "SELECT count(*) FROM socket_events WHERE action IN ('accept', 'close', 'connect') \
             AND {0} IN (remote_port, local_port)",
            accepting.port()
        );
        assert_eq!(count(&rig.0.host, &sql), Some(0), "nor its accepts and ends");
        let other = r#""exclude_addresses": ["127.255.0.0/16"]"#;
        rig.0.host.set_config(&config(other, false));
        rig.wait_for_setid(false);
        connects(Path::new(BASH), port, 0);
        rig.flush();
        assert_eq!(rig.rows(V4, port), CONNECTS, "what is no longer excluded is seen at once");
    }

    #[test]
    fn an_excluded_programs_connects_are_left_out_in_the_kernel_as_long_as_it_runs_that_program() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let quiet = directory.path().join("quiet");
        std::fs::copy(BASH, &quiet).unwrap();
        let rig = rig(&format!(r#""exclude_processes": ["{}/%"]"#, directory.path().display()));
        let port = nobody("127.0.0.1:0");
        let (kernel, here) = (rig.of("socket", "filtered_kernel"), rig.of("socket", "excluded"));
        connects(&quiet, port, 0);
        rig.flush();
        assert_eq!(rig.rows(V4, port), 0);
        let kernel = rig.of("socket", "filtered_kernel") - kernel;
        let here = rig.of("socket", "excluded") - here;
        println!("{CONNECTS} connects: {kernel} left out in the kernel, {here} here");
        assert!(kernel + here >= CONNECTS, "{kernel} {here}");
        assert!(kernel > CONNECTS / 4, "only {kernel} in the kernel");
        // The same process, running something else.
        let loud = nobody("127.0.0.1:0");
        let script = format!(
            "read -t 0.3 <> <(:); exec {BASH} -c 'exec 3<>/dev/tcp/127.0.0.1/{loud}; true'"
        );
        assert!(Command::new(&quiet).args(["-c", &script]).status().unwrap().success());
        rig.flush();
        assert_eq!(rig.rows(V4, loud), 1, "what it executes is another program");
    }

    #[test]
    fn a_program_that_ran_before_it_was_excluded_is_left_out_too() {
        let directory = tempfile::tempdir().unwrap();
        let quiet = directory.path().join("quiet");
        std::fs::copy(BASH, &quiet).unwrap();
        let go = directory.path().join("go");
        let port = nobody("127.0.0.1:0");
        let script = format!(
            "until [ -e {go} ]; do read -t 0.05 <> <(:); done; \
             for i in {{1..{CONNECTS}}}; do exec 3<>/dev/tcp/127.0.0.1/{port}; done 2>/dev/null; true",
            go = go.display()
        );
        let mut child = Command::new(&quiet).args(["-c", &script]).spawn().unwrap();
        let rig = rig(&format!(r#""exclude_processes": ["{}"]"#, quiet.display()));
        let (kernel, here) = (rig.of("socket", "filtered_kernel"), rig.of("socket", "excluded"));
        std::fs::write(&go, "").unwrap();
        assert!(child.wait().unwrap().success());
        rig.flush();
        assert_eq!(rig.rows(V4, port), 0);
        assert_eq!(rig.of("socket", "excluded"), here, "it was not marked in the kernel");
        assert!(rig.of("socket", "filtered_kernel") - kernel >= CONNECTS);
    }

    #[test]
    fn an_excluded_users_change_of_ids_is_left_out_in_the_kernel() {
        let rig = rig(&format!(r#""exclude_uids": [{SOMEBODY}]"#));
        let before = rig.of("setid", "filtered_kernel");
        let (received, excluded) = (rig.of("setid", "received"), rig.of("setid", "excluded"));
        let become_somebody = |user: u32| {
            let status = Command::new("/bin/true").uid(user).gid(user).status().unwrap();
            assert!(status.success());
        };
        become_somebody(SOMEBODY);
        rig.flush();
        assert!(rig.of("setid", "filtered_kernel") > before);
        assert_eq!(rig.of("setid", "excluded"), excluded);
        become_somebody(SOMEBODY + 1);
        eventually("another's", || rig.of("setid", "received") > received);
    }
}
