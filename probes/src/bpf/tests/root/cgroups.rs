//! The cgroup that tells which container a process is in, on hosts with cgroup v2, v1 and both.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::lineage::exec_true;
use super::{Watch, fork};

/// Made-up cgroups below a hierarchy, removed at the end, the innermost first.
struct Made(Vec<PathBuf>);

impl Made {
    fn below(hierarchy: &Path, parts: &[&str]) -> Self {
        let mut made = Self(Vec::new());
        let mut path = hierarchy.join(format!("osquery-ebpf-test-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        made.0.push(path.clone());
        for part in parts {
            path.push(part);
            fs::create_dir(&path).unwrap();
            made.0.push(path.clone());
        }
        made
    }

    fn innermost(&self) -> &Path {
        self.0.last().unwrap()
    }

    /// Has a process go there and execute `/bin/true`. Its pid.
    fn execute(&self) -> u32 {
        let mut procs =
            fs::OpenOptions::new().write(true).open(self.innermost().join("cgroup.procs")).unwrap();
        let (pid, status) = fork(|| {
            // 0 is whoever writes it.
            if procs.write_all(b"0").is_err() {
                return 1;
            }
            exec_true()
        });
        assert_eq!(status.code(), Some(0));
        pid
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = fs::remove_dir(path);
        }
    }
}

/// Where a hierarchy is mounted: of this type, and with this word among its options.
fn mounted(kind: &str, option: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = lines.find(|one| one[2] == kind && one[3].split(',').any(|word| word == option));
    found.map(|one| PathBuf::from(one[1]))
}

fn assert_told(hierarchy: &Path, parts: &[&str]) {
    let watch = Watch::shared();
    let made = Made::below(hierarchy, parts);
    let pid = made.execute();
    let told = watch.exec(pid).0.task.cgroup.expect("known");
    let path = Path::new("/").join(made.innermost().strip_prefix(hierarchy).unwrap());
    assert_eq!(&*told, path.as_os_str().as_bytes(), "{}", String::from_utf8_lossy(&told));
}

const ID: &str = "4c01db0b339cc5d0f9b1c6c4a4b8d5a3e1f0a9b8c7d6e5f403122130415263ff";

#[test]
fn the_cgroup_of_a_container_on_v2_is_told_from_its_root() {
    let unified = mounted("cgroup2", "rw").expect("cgroup2 is mounted");
    let scope = format!("docker-{ID}.scope");
    assert_told(&unified, &["system.slice", &scope]);
    assert_told(&unified, &["machine.slice", "systemd-nspawn@debian.service", "payload"]);
}

/// The hierarchy of v1 that is looked at first. `None`: the controller is v2's, and nobody can be in
/// a hierarchy of v1 that had it.
fn v1() -> Option<PathBuf> {
    let found = mounted("cgroup", "pids");
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(found.is_some(), cgroups.contains(":pids:"), "mount it to be tested: {cgroups}");
    found
}

/// On such hosts the place in v2's hierarchy, if there is one, is its root.
#[test]
fn the_cgroup_of_a_container_on_v1_is_told_from_its_root() {
    let Some(pids) = v1() else { return };
    assert_told(&pids, &["docker", ID]);
    assert_told(&pids, &["kubepods", "burstable", "pod2f7b1b3e-8e4c", ID]);
}

/// Two containers' names at once: v2's is what counts.
#[test]
fn on_a_host_with_both_the_unified_hierarchy_counts_where_it_tells_anything() {
    let unified = mounted("cgroup2", "rw").expect("cgroup2 is mounted");
    let Some(pids) = v1() else { return };
    let watch = Watch::shared();
    let (old, new) = (Made::below(&pids, &["docker", ID]), Made::below(&unified, &["inner"]));
    let [mut first, mut second] = [&old, &new].map(|made| {
        fs::OpenOptions::new().write(true).open(made.innermost().join("cgroup.procs")).unwrap()
    });
    let (pid, status) = fork(|| {
        if first.write_all(b"0").and(second.write_all(b"0")).is_err() {
            return 1;
        }
        exec_true()
    });
    assert_eq!(status.code(), Some(0));
    let told = watch.exec(pid).0.task.cgroup.expect("known");
    let path = Path::new("/").join(new.innermost().strip_prefix(&unified).unwrap());
    assert_eq!(&*told, path.as_os_str().as_bytes());
}
