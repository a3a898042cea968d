//! What the running program may still do, and what others may do to it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test, and what helps it, may and should fail loudly"
)]

#[expect(dead_code, reason = "not all of it is needed here")]
mod support;

mod root {
    use std::ffi::CString;
    use std::fs;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use osquery_ebpf::privilege::{HELPER_NAME, HELPERS, KEPT};
    use rustix::thread::CapabilitySet;

    use crate::support::{Service, count, eventually, host, registered, serve, serve_under};

    const NOBODY: u32 = 65_534;

    fn line(status: &str, key: &str) -> String {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {key} in {status}")).trim().to_owned()
    }

    fn set(status: &str, key: &str) -> CapabilitySet {
        CapabilitySet::from_bits_retain(u64::from_str_radix(&line(status, key), 16).unwrap())
    }

    fn status(path: &Path) -> String {
        fs::read_to_string(path.join("status")).unwrap()
    }

    fn threads(pid: u32) -> Vec<PathBuf> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.map(|task| task.unwrap().path()).collect()
    }

    /// The processes that a process has forked.
    fn children(pid: u32) -> Vec<u32> {
        let all = fs::read_dir("/proc").unwrap();
        let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(|child: &u32| {
            let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            status.lines().any(|line| line == format!("PPid:\t{pid}"))
        })
        .collect()
    }

    /// A child of this test with all that root has: the test itself may have less.
    fn own() -> CapabilitySet {
        set(&status(Path::new("/proc/self")), "CapPrm")
    }

    fn assert_confined(status: &str, kept: CapabilitySet) {
        for (key, expected) in [
            ("CapPrm", kept),
            ("CapEff", kept),
            ("CapInh", CapabilitySet::empty()),
            ("CapAmb", CapabilitySet::empty()),
            ("CapBnd", CapabilitySet::empty()),
        ] {
            assert_eq!(set(status, key), expected, "{key}\n{status}");
        }
        assert_eq!(line(status, "NoNewPrivs"), "1", "{status}");
        assert_eq!(line(status, "Seccomp"), "2", "{status}");
    }

    fn assert_program_is_confined(arguments: &[&str]) {
        let service = serve("{}", arguments);
        let pid = service.program.0.id();
        let threads = threads(pid);
        // One that served a connection may have ended since.
        let there =
            threads.iter().filter_map(|thread| fs::read_to_string(thread.join("status")).ok());
        let there: Vec<String> = there.collect();
        assert!(there.len() > 3, "{threads:?}");
        for thread in there {
            assert_confined(&thread, KEPT.intersection(own()));
        }
        let children = children(pid);
        let [helper] = children.as_slice() else { panic!("one helper expected: {children:?}") };
        let helper = status(Path::new(&format!("/proc/{helper}")));
        assert_eq!(line(&helper, "Name"), HELPER_NAME.to_str().unwrap());
        assert_eq!(line(&helper, "Threads"), "1");
        assert_confined(&helper, HELPERS);
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    }

    #[test]
    fn a_running_extension_keeps_these_capabilities_and_no_others() {
        assert_program_is_confined(&["--source=off"]);
    }

    #[test]
    fn so_it_does_with_every_source_at_work() {
        assert_program_is_confined(&[]);
    }

    #[test]
    fn the_helper_ends_with_the_program_however_that_ends() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "{}");
        for kill in [false, true] {
            let mut program = serve_under(&host, &["--source=off"]);
            let [helper] = children(program.0.id())[..] else { panic!("no helper") };
            if kill {
                program.0.kill().unwrap();
            } else {
                program.terminate();
            }
            program.0.wait().unwrap();
            let gone = || {
                let path = format!("/proc/{helper}/status");
                // Whoever inherits it may be slow to notice.
                fs::read_to_string(path)
                    .map_or(true, |status| line(&status, "State") == "Z (zombie)")
            };
            eventually("the helper's end", gone);
            eventually("the host to notice", || !registered(&host));
        }
    }

    #[test]
    fn with_keep_everything_stays_as_it_was() {
        let service = serve("{}", &["--source=off", "--privileges=keep"]);
        let pid = service.program.0.id();
        let status = status(Path::new(&format!("/proc/{pid}")));
        assert_eq!(set(&status, "CapEff"), own());
        assert!(children(pid).is_empty());
    }

    /// Takes an attempt's name and what the call returned, errno still being the call's.
    type Tell<'a> = &'a mut dyn FnMut(&str, i64);

    /// Runs `work` in a child of its own, and gives what it says.
    fn in_a_child(work: impl FnOnce(&mut std::io::PipeWriter)) -> String {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        // SAFETY: the child uses nothing that another thread of this test could hold locked: glibc
        // makes its allocator whole again after fork. It ends by _exit.
        match unsafe { libc::fork() } {
            -1 => panic!("{}", std::io::Error::last_os_error()),
            0 => {
                work(&mut writer);
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) }
            }
            child => {
                drop(writer);
                let mut said = String::new();
                reader.read_to_string(&mut said).unwrap();
                // SAFETY: waits for our own child and wants no status.
                unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                said
            }
        }
    }

    /// Runs `attempts` in a process that has given its privileges up; they tell what succeeded.
    fn after_giving_up(attempts: fn(Tell<'_>)) -> String {
        in_a_child(|writer| {
            let given_up =
                osquery_ebpf::privilege::give_up(osquery_ebpf::privilege::Files::ReadOnly);
            let _ = writeln!(writer, "gave up: {}", given_up.is_ok());
            attempts(&mut |name, result| {
                let errno = std::io::Error::last_os_error().raw_os_error();
                let _ = match (result, errno) {
                    (-1, Some(errno)) => writeln!(writer, "{name}: {errno}"),
                    (result, _) => writeln!(writer, "{name}: succeeded with {result}"),
                };
            });
        })
    }

    macro_rules! call {
        ($number:expr $(, $argument:expr)*) => {
            // SAFETY: system calls that are refused, or are given no memory to write to.
            unsafe { libc::syscall($number $(, $argument)*) }
        };
    }

    #[test]
    fn a_process_that_was_taken_over_cannot_get_its_privileges_back() {
        let said = after_giving_up(|tell| {
            let null = std::ptr::null::<libc::c_char>();
            let root = c"/".as_ptr();
            tell("execve", call!(libc::SYS_execve, c"/bin/true".as_ptr(), &null, &null));
            tell("fork", call!(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0));
            let user = libc::CLONE_NEWUSER | libc::SIGCHLD;
            tell("clone in a new user namespace", call!(libc::SYS_clone, user, 0, 0, 0, 0));
            tell("clone3", call!(libc::SYS_clone3, 0, 0));
            tell("unshare", call!(libc::SYS_unshare, libc::CLONE_NEWUSER));
            tell("setns", call!(libc::SYS_setns, 0, 0));
            tell("setuid", call!(libc::SYS_setuid, 0));
            tell("mount", call!(libc::SYS_mount, root, root, root, 0, 0));
            tell("fsopen", call!(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0));
            tell("ptrace", call!(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1, 0, 0));
            tell("pidfd_getfd", call!(libc::SYS_pidfd_getfd, 0, 0, 0));
            tell("init_module", call!(libc::SYS_init_module, 0, 0, root));
            tell("io_uring_setup", call!(libc::SYS_io_uring_setup, 1, 0));
            tell("userfaultfd", call!(libc::SYS_userfaultfd, 0));
            tell("keyctl", call!(libc::SYS_keyctl, 0, 0, 0, 0, 0));
            tell("fanotify_init", call!(libc::SYS_fanotify_init, 0, 0));
            tell("a call of the next kernel", call!(463, 0));
            #[cfg(target_arch = "x86_64")]
            tell("x32 getpid", call!(libc::SYS_getpid | 0x4000_0000));
            for path in [
                c"/proc/1/mem",
                c"/proc/self/mem",
                c"/etc/passwd",
                c"/proc/sys/kernel/core_pattern",
            ] {
                let name = format!("write {path:?}");
                let at = libc::AT_FDCWD;
                tell(&name, call!(libc::SYS_openat, at, path.as_ptr(), libc::O_RDWR));
                tell(&name, call!(libc::SYS_openat, at, path.as_ptr(), libc::O_WRONLY));
                tell(&name, call!(libc::SYS_openat, at, path.as_ptr(), 3));
                tell(&name, call!(libc::SYS_openat, at, path.as_ptr(), libc::O_TRUNC));
                #[cfg(target_arch = "x86_64")]
                tell(&name, call!(libc::SYS_open, path.as_ptr(), libc::O_WRONLY));
            }
            let tmpfile = libc::O_TMPFILE | libc::O_RDONLY;
            let create = libc::O_CREAT | libc::O_RDONLY;
            tell("create", call!(libc::SYS_openat, libc::AT_FDCWD, c"/tmp/x".as_ptr(), create, 0));
            tell("tmpfile", call!(libc::SYS_openat, libc::AT_FDCWD, c"/tmp".as_ptr(), tmpfile, 0));
            tell("capset", {
                let all = CapabilitySet::all();
                let sets = rustix::thread::CapabilitySets {
                    effective: all,
                    permitted: all,
                    inheritable: all,
                };
                match rustix::thread::set_capabilities(None, sets) {
                    Ok(()) => 0,
                    Err(errno) => {
                        // SAFETY: this thread's own errno, where the others are found too.
                        unsafe { *libc::__errno_location() = errno.raw_os_error() };
                        -1
                    }
                }
            });
        });
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some("gave up: true"), "{said}");
        let rest: Vec<&str> = lines.collect();
        assert!(rest.len() > 35, "{said}");
        for line in rest {
            let (name, errno) = line.rsplit_once(": ").unwrap();
            let expected = match name {
                "clone3" | "a call of the next kernel" | "x32 getpid" => libc::ENOSYS,
                _ => libc::EPERM,
            };
            assert_eq!(errno, expected.to_string(), "{name}");
        }
    }

    #[test]
    fn and_what_it_needs_still_works() {
        let said = after_giving_up(|tell| {
            let path = c"/etc/passwd";
            let at = libc::AT_FDCWD;
            let read = call!(libc::SYS_openat, at, path.as_ptr(), libc::O_RDONLY);
            tell("read", i64::from(read < 0));
            let thread = std::thread::spawn(|| 7).join();
            tell("thread", i64::from(thread.is_err()));
            let environ =
                fs::read(format!("/proc/{}/environ", std::os::unix::process::parent_id()));
            tell("another's environ", i64::from(environ.is_err()));
            let exe = fs::read_link(format!("/proc/{}/exe", std::os::unix::process::parent_id()));
            tell("another's exe", i64::from(exe.is_err()));
            let socket = std::os::unix::net::UnixListener::bind(format!(
                "/tmp/osquery-ebpf-privileges-{}",
                std::process::id()
            ));
            let made = socket
                .and_then(|socket| fs::remove_file(socket.local_addr()?.as_pathname().unwrap()));
            tell("a socket of ours", i64::from(made.is_err()));
        });
        for line in said.lines().skip(1) {
            assert!(line.ends_with(": succeeded with 0"), "{said}");
        }
        assert_eq!(said.lines().count(), 6, "{said}");
    }

    /// Runs `attempt` as nobody, after setuid(2), and gives the errno it ended with; 0: it worked.
    fn as_nobody(mut attempt: impl FnMut() -> i64 + Send + Sync + 'static) -> i32 {
        let mut child = Command::new("/bin/true");
        child.uid(NOBODY).gid(NOBODY);
        // SAFETY: the attempts are single system calls. What they return comes back as the error of
        // the spawn, before anything is executed.
        unsafe {
            child.pre_exec(move || match attempt() {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Err(std::io::Error::from_raw_os_error(libc::EISNAM)),
            });
        }
        match child.spawn().unwrap_err().raw_os_error().unwrap() {
            libc::EISNAM => 0,
            errno => errno,
        }
    }

    fn opens(path: impl AsRef<Path>, flags: i32) -> i32 {
        let path = CString::new(path.as_ref().to_str().unwrap()).unwrap();
        as_nobody(move || call!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags))
    }

    fn bpf(command: i64, id: u32) -> i32 {
        as_nobody(move || {
            let mut attributes = [0_u32; 32];
            attributes[0] = id;
            // BPF_*_GET_NEXT_ID and BPF_*_GET_FD_BY_ID: the id is the first, the rest may be 0.
            call!(libc::SYS_bpf, command, &attributes, size_of_val(&attributes))
        })
    }

    fn assert_nobody_gets_in(arguments: &[&str]) {
        // A folder that everybody can enter, as a careless administrator might have it.
        let Service { program, host, directory } = serve("{}", arguments);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let ours = {
            let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
            let ours: Vec<PathBuf> = files.filter(|path| *path != *host.socket()).collect();
            assert_eq!(ours.len(), 1, "{ours:?}");
            ours[0].clone()
        };
        let found = fs::symlink_metadata(&ours).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o600));

        assert_eq!(opens(directory.path(), libc::O_RDONLY), 0, "the test would prove nothing");
        let connects = |path: &Path| {
            let socket = rustix::net::socket(
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::STREAM,
                None,
            )
            .unwrap();
            // SAFETY: all zeroes is a valid address.
            let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
            address.sun_family = 1;
            for (to, from) in address.sun_path.iter_mut().zip(path.to_str().unwrap().bytes()) {
                *to = from.cast_signed();
            }
            as_nobody(move || {
                call!(libc::SYS_connect, socket.as_raw_fd(), &address, size_of_val(&address))
            })
        };
        assert_eq!(connects(&ours), libc::EACCES);

        let pid = program.0.id();
        for pid in std::iter::once(pid).chain(children(pid)) {
            for file in ["mem", "environ", "maps", "fd", "map_files", "stack", "syscall", "auxv"] {
                let errno = opens(format!("/proc/{pid}/{file}"), libc::O_RDONLY);
                assert!(matches!(errno, libc::EACCES | libc::EPERM), "{file}: {errno}");
            }
            let pid = i64::from(pid);
            let attach = as_nobody(move || call!(libc::SYS_ptrace, libc::PTRACE_ATTACH, pid, 0, 0));
            assert_eq!(attach, libc::EPERM);
            assert_eq!(as_nobody(move || call!(libc::SYS_kill, pid, libc::SIGTERM)), libc::EPERM);
        }
        // PROG, MAP, BTF, LINK: GET_NEXT_ID, then GET_FD_BY_ID of some that there may be.
        for command in [11, 12, 23, 31] {
            assert_eq!(bpf(command, 0), libc::EPERM, "{command}");
        }
        for command in [13, 14, 19, 30] {
            for id in 1..200 {
                assert_eq!(bpf(command, id), libc::EPERM, "{command} of {id}");
            }
        }
        let pinned = fs::read_dir("/sys/fs/bpf").map_or(0, |found| {
            found
                .filter(|entry| {
                    entry.as_ref().unwrap().file_name().to_str().unwrap().contains("osquery")
                })
                .count()
        });
        assert_eq!(pinned, 0, "nothing of ours is pinned for others to open");

        // Even where somebody opens the socket to all, it does not speak to them.
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o666)).unwrap();
        let stream = UnixStream::connect(&ours).unwrap();
        drop(stream);
        assert_eq!(connects(&ours), 0);
        assert_eq!(asked_by_nobody(&ours), "closed");
        assert_eq!(count(&host, "SELECT count(*) > 0 FROM ebpf_events_health"), Some(1));
    }

    /// What nobody hears on a socket that they can connect to.
    fn asked_by_nobody(path: &Path) -> String {
        in_a_child(|writer| {
            call!(libc::SYS_setgroups, 0, 0);
            call!(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY);
            call!(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY);
            let heard = UnixStream::connect(path).and_then(|mut stream| {
                // A ping, as osqueryd makes it; it may be hung up on before it is written.
                let ping = b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x01\0";
                let _ = stream.write_all(ping);
                stream.read(&mut [0; 64])
            });
            let heard = match heard {
                Ok(0) => "closed".to_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    "closed".to_owned()
                }
                other => format!("{other:?}"),
            };
            let _ = writer.write_all(heard.as_bytes());
        })
    }

    #[test]
    fn an_ordinary_user_can_neither_read_what_is_ours_nor_speak_to_us() {
        assert_nobody_gets_in(&["--source=off"]);
    }

    #[test]
    fn nor_with_every_source_at_work() {
        assert_nobody_gets_in(&[]);
    }
}
