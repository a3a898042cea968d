use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::clock::boot_now_ns;
use crate::event::TICK_NS;

/// A child that waits for its standard input to close, and is reaped at the end.
struct Waiting(Child);

impl Waiting {
    /// Starts `cat`, or a copy of it, and returns once it executes (its own output says so).
    fn start(program: &Path, dir: &Path) -> Self {
        Self::begin(Command::new(program).args(["-", "a b", ""]).current_dir(dir))
    }

    fn begin(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"ready\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn read(&self) -> ProcProcess {
        read(self.0.id()).unwrap()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn cat() -> PathBuf {
    fs::canonicalize("/bin/cat").unwrap()
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("proc-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    fs::canonicalize(dir).unwrap()
}

#[test]
fn an_environment_is_read_as_it_was_given_and_an_empty_one_is_not_an_unknown_one() {
    let environment_of = |variables: &[(&str, &str)]| {
        let mut command = Command::new(cat());
        let child = Waiting::begin(command.env_clear().envs(variables.iter().copied()));
        environment(child.0.id()).0
    };
    let given = environment_of(&[("A", "one two"), ("B", "")]);
    assert_eq!(given.bytes.as_deref(), Some(&b"A=one two\0B=\0"[..]));
    assert_eq!((given.size, given.count), (Some(13), Some(2)));
    let empty = environment_of(&[]);
    assert_eq!((empty.bytes.as_deref(), empty.count), (Some(&b""[..]), Some(0)));
    assert_eq!(environment(u32::MAX), (Strings::default(), false));
}

#[test]
fn a_child_is_read_as_it_was_started() {
    let dir = scratch("child");
    let before = boot_now_ns();
    let child = Waiting::start(&cat(), &dir);
    let found = child.read();
    let after = boot_now_ns();

    assert_eq!(found.pid, child.0.id());
    assert_eq!(found.parent_pid, Some(std::process::id()));
    assert_eq!(found.exe.as_deref(), Some(cat().as_os_str().as_bytes()));
    assert!(!found.exe_deleted);
    assert_eq!(found.cwd.as_deref(), Some(dir.as_os_str().as_bytes()));
    let arguments = [cat().as_os_str().as_bytes(), b"\0-\0a b\0\0"].concat();
    assert_eq!(found.cmdline.bytes.as_deref(), Some(arguments.as_slice()));
    assert_eq!(found.cmdline.size, Some(arguments.len() as u64));
    assert_eq!(found.cmdline.count, Some(4));
    assert_eq!(found.comm.as_deref(), Some(b"cat".as_slice()));
    assert!((before - TICK_NS..=after).contains(&found.start_ns));
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(found.creds.map(|creds| [creds.uid, creds.euid, creds.fsuid]), Some([uid; 3]));
    assert!(!found.denied);
    fs::remove_dir(&dir).unwrap();
}

#[test]
fn namespaces_are_those_of_the_links() {
    let inode = |name: &str| {
        let found = rustix::fs::stat(format!("/proc/self/ns/{name}")).unwrap();
        u32::try_from(found.st_ino).unwrap()
    };
    let expected =
        Namespaces { mnt: inode("mnt"), pid: inode("pid"), net: inode("net"), user: inode("user") };
    assert_eq!(read(std::process::id()).unwrap().namespaces, Some(expected));
}

#[test]
fn an_executable_that_was_unlinked_is_deleted_and_one_named_so_is_not() {
    let dir = scratch("deleted");
    let gone = dir.join("gone");
    let odd = dir.join("odd (deleted)");
    fs::copy(cat(), &gone).unwrap();
    fs::copy(cat(), &odd).unwrap();
    let (running_gone, running_odd) = (Waiting::start(&gone, &dir), Waiting::start(&odd, &dir));
    fs::remove_file(&gone).unwrap();

    let found = running_gone.read();
    assert_eq!(found.exe.as_deref(), Some(gone.as_os_str().as_bytes()));
    assert!(found.exe_deleted);

    let found = running_odd.read();
    assert_eq!(found.exe.as_deref(), Some(odd.as_os_str().as_bytes()));
    assert!(!found.exe_deleted);

    fs::remove_file(&odd).unwrap();
    let found = running_odd.read();
    assert_eq!(found.exe.as_deref(), Some(odd.as_os_str().as_bytes()));
    assert!(found.exe_deleted);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_thread_id_leads_to_its_process() {
    let (send, receive) = std::sync::mpsc::channel();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        send.send(rustix::thread::gettid()).unwrap();
        let _ = stopped.recv();
    });
    let living = receive.recv().unwrap();
    assert_ne!(living.as_raw_nonzero().get().cast_unsigned(), std::process::id());
    let found = read(living.as_raw_nonzero().get().cast_unsigned()).unwrap();
    assert_eq!(found.pid, std::process::id());
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn a_process_that_was_reaped_is_gone_and_a_zombie_is_not() {
    let mut child = Command::new("/bin/true").stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    // Its end of the pipe closes before it becomes a zombie; WNOWAIT leaves it one.
    let id = rustix::process::Pid::from_child(&child);
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(id), options).unwrap();
    let zombie = read(pid).unwrap();
    assert_eq!(zombie.comm.as_deref(), Some(b"true".as_slice()));
    assert_eq!((zombie.exe, zombie.cmdline.bytes), (None, None));
    child.wait().unwrap();
    assert_eq!(read(pid), None);
}

#[test]
fn a_scan_has_us_our_parent_and_each_pid_once() {
    let processes = scan();
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get().cast_unsigned();
    let position = |pid| processes.iter().position(|process| process.pid == pid);
    let ours = position(std::process::id()).unwrap();
    assert!(position(parent).unwrap() < ours);
    assert_eq!(processes[ours], ProcProcess { ..read(std::process::id()).unwrap() });
    let mut pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), processes.len());
}

mod formats {
    use super::super::parse::*;
    use crate::event::Creds;

    const TAIL: &[u8] = b" S 41 2 3 34818 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 147726 3133440 418\n";

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_fields() {
        let line = [b"42 (a) R 1 (b)".as_slice(), TAIL].concat();
        let found = stat(&line).unwrap();
        assert_eq!(&*found.comm, b"a) R 1 (b");
        assert_eq!(found.parent_pid, Some(41));
        assert_eq!(found.tty, Some((136, 2)));
        assert_eq!(found.start_ns, 1_477_260_000_000);
    }

    #[test]
    fn a_line_cut_before_the_start_time_is_no_process() {
        assert_eq!(stat(b"42 (a) S 41 2 3 34818"), None);
        assert_eq!(stat(b"42 )a("), None);
        assert_eq!(stat(b""), None);
    }

    #[test]
    fn pseudo_terminals_have_one_numbering_over_eight_majors() {
        assert_eq!(pts_index(136, 7), Some(7));
        assert_eq!(pts_index(137, 0), Some(1 << 20));
        assert_eq!(pts_index(144, 0), None);
        assert_eq!(pts_index(4, 1), None);
    }

    #[test]
    fn status_gives_ids_and_the_innermost_pid() {
        let text = b"Name:\tx\nTgid:\t42\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 \n\
            NStgid:\t42\t7\nNSpid:\t42\t7\nCapEff:\t0\n";
        let creds =
            Creds { uid: 1, euid: 2, suid: 3, fsuid: 4, gid: 5, egid: 6, sgid: 7, fsgid: 8 };
        let expected = Status { tgid: Some(42), creds: Some(creds), ns_pid: Some(7) };
        assert_eq!(status(text), expected);
    }

    #[test]
    fn a_line_that_was_cut_is_not_read_as_a_smaller_number() {
        assert_eq!(status(b"Tgid:\t42\nNStgid:\t4").ns_pid, None);
        assert_eq!(cgroup(b"0::/a/lon"), None);
    }

    #[test]
    fn an_unset_login_uid_is_unknown() {
        assert_eq!(loginuid(b"4294967295"), None);
        assert_eq!(loginuid(b"0\n"), Some(0));
    }

    #[test]
    fn v2_is_preferred_unless_it_is_the_root() {
        let hybrid = b"9:name=systemd:/s\n8:pids:/p\n4:memory:/m\n0::/\n";
        assert_eq!(cgroup(hybrid).as_deref(), Some(b"/p".as_slice()));
        let v2 = b"8:pids:/p\n0::/user.slice\n";
        assert_eq!(cgroup(v2).as_deref(), Some(b"/user.slice".as_slice()));
    }

    #[test]
    fn of_v1_the_first_that_is_not_the_root_counts() {
        let text = b"9:name=systemd:/s:1\n8:cpu,pids:/\n4:memory:/m (deleted)\n0::/\n";
        assert_eq!(cgroup(text).as_deref(), Some(b"/m".as_slice()));
        let systemd = b"9:name=systemd:/s:1\n";
        assert_eq!(cgroup(systemd).as_deref(), Some(b"/s:1".as_slice()));
        assert_eq!(cgroup(b"8:pids:/\n0::/\n").as_deref(), Some(b"/".as_slice()));
        assert_eq!(cgroup(b"3:cpuset:/x\n"), None);
    }

    #[test]
    fn arguments_beyond_the_limit_are_cut_and_their_size_is_unknown() {
        let (kept, cut) = strings(b"ab\0cd\0e", 6);
        assert!(cut);
        assert_eq!(kept.bytes.as_deref(), Some(b"ab\0cd\0".as_slice()));
        assert_eq!((kept.size, kept.count), (None, None));
        let (kept, cut) = strings(b"ab\0cd\0", 6);
        assert!(!cut);
        assert_eq!((kept.size, kept.count), (Some(6), Some(2)));
    }

    #[test]
    fn arguments_overwritten_without_an_end_count_as_one() {
        assert_eq!(strings(b"daemon: working", 64).0.count, Some(1));
    }

    #[test]
    fn a_namespace_link_has_its_inode_in_brackets() {
        assert_eq!(namespace(b"pid:[4026531836]"), Some(4_026_531_836));
        assert_eq!(namespace(b"pid:4026531836"), None);
    }
}
