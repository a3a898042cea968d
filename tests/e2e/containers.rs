//! Containers, from cgroups with the names that engines give them to a column of SQL. No engine is
//! needed: what counts is where a process is when it executes.

mod root {
    use std::fs;
    use std::path::{Path, PathBuf};

    use osquery_ebpf_tests::{rows_after, text};

    const ID: &str = "4c01db0b339cc5d0f9b1c6c4a4b8d5a3e1f0a9b8c7d6e5f403122130415263ff";

    /// A made-up cgroup with all that leads to it below a hierarchy, removed at the end.
    struct Made {
        hierarchy: PathBuf,
        path: PathBuf,
    }

    impl Made {
        fn new(hierarchy: &Path, name: &str) -> Self {
            let own = format!("osquery-ebpf-test-{}", std::process::id());
            let path = hierarchy.join(own).join(name);
            fs::create_dir_all(&path).unwrap();
            Self { hierarchy: hierarchy.to_owned(), path }
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            for path in self.path.ancestors().take_while(|path| *path != self.hierarchy) {
                let _ = fs::remove_dir(path);
            }
        }
    }

    fn mounted(kind: &str, option: &str) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let found =
            lines.find(|one| one[2] == kind && one[3].split(',').any(|word| word == option));
        found.map(|one| PathBuf::from(one[1]))
    }

    /// Executes something in each cgroup, and asks which containers that was in.
    fn assert_named(hierarchy: &Path, cgroups: &[(String, &str)]) {
        let made: Vec<_> = cgroups.iter().map(|(name, _)| Made::new(hierarchy, name)).collect();
        let each = made.iter().enumerate().map(|(number, made)| {
            let procs = made.path.join("cgroup.procs");
            format!("(sh -c 'echo $$ >{}; exec /bin/echo cgroup-{number}')", procs.display())
        });
        let rows = rows_after(
            &each.collect::<Vec<_>>().join(" && "),
            "SELECT cmdline, cgroup, container_id FROM process_events
             WHERE cmdline LIKE '/bin/echo cgroup-%' AND path LIKE '%/echo' ORDER BY ntime",
        );
        assert_eq!(rows.len(), cgroups.len(), "{rows:#?}");
        for ((row, made), (_, expected)) in rows.iter().zip(&made).zip(cgroups) {
            let path = Path::new("/").join(made.path.strip_prefix(hierarchy).unwrap());
            assert_eq!(text(row, "cgroup"), path.to_str().unwrap());
            assert_eq!(text(row, "container_id"), *expected, "{}", path.display());
        }
    }

    #[test]
    fn on_cgroup_v2_each_engines_containers_are_named() {
        let unified = mounted("cgroup2", "rw").expect("cgroup2 is mounted");
        assert_named(
            &unified,
            &[
                (format!("system.slice/docker-{ID}.scope"), ID),
                (format!("kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"), ID),
                (format!("kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"), ID),
                (format!("machine.slice/libpod-{ID}.scope/container"), ID),
                ("machine.slice/systemd-nspawn@debian.service/payload".to_owned(), "debian"),
                ("machine.slice/machine-debian.scope".to_owned(), "debian"),
                ("system.slice/ssh.service".to_owned(), ""),
            ],
        );
    }

    #[test]
    fn on_cgroup_v1_each_engines_containers_are_named() {
        let Some(pids) = mounted("cgroup", "pids") else {
            // The controller is v2's, and no engine can use v1.
            let own = fs::read_to_string("/proc/self/cgroup").unwrap();
            assert!(!own.contains(":pids:"), "mount it to be tested: {own}");
            return;
        };
        assert_named(
            &pids,
            &[
                (format!("docker/{ID}"), ID),
                (format!("kubepods/burstable/pod2f7b1b3e-8e4c/{ID}"), ID),
                (
                    format!(
                        "system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"
                    ),
                    ID,
                ),
                (format!("kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"), ID),
                (format!("libpod_parent/libpod-{ID}"), ID),
                ("machine.slice/machine-debian.scope".to_owned(), "debian"),
                ("system.slice/ssh.service".to_owned(), ""),
            ],
        );
    }
}
