use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use proptest::prelude::*;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::message::{Request, ask};
use super::serve;

/// A helper's loop on a thread of this process.
fn helper() -> (OwnedFd, JoinHandle<()>) {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    (ours, std::thread::spawn(move || serve(&theirs)))
}

#[test]
fn every_request_is_read_as_it_was_written() {
    for request in [
        Request::Group { flags: 7 },
        Request::Mark { flags: u32::MAX, mask: u64::MAX, path: b"/etc" },
        Request::MarkFd { flags: 1, mask: 2 },
        Request::BtrfsTop { source: b"/dev/sda1" },
        Request::TraceFs,
        Request::Tracepoint { id: 1 << 40 },
    ] {
        assert_eq!(Request::read(&request.write().unwrap()), Some(request));
    }
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_not_sent() {
    let path = vec![b'x'; 5000];
    let request = Request::Mark { flags: 0, mask: 0, path: &path };
    assert_eq!(request.write().unwrap_err(), Errno::NAMETOOLONG);
}

#[test]
fn a_group_that_could_hold_others_up_is_refused() {
    let (socket, thread) = helper();
    for flags in [libc::FAN_CLASS_CONTENT, libc::FAN_CLASS_PRE_CONTENT] {
        let refused = ask(&socket, &Request::Group { flags }, &[]);
        assert_eq!(refused.unwrap_err(), Errno::PERM);
    }
    drop(socket);
    thread.join().unwrap();
}

#[test]
fn only_marks_of_whole_file_systems_that_ask_no_permission_are_made() {
    let (socket, thread) = helper();
    let null = std::fs::File::open("/dev/null").unwrap();
    let whole = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    for (flags, mask) in [
        (libc::FAN_MARK_ADD, libc::FAN_OPEN),
        (whole | libc::FAN_MARK_IGNORED_MASK, libc::FAN_OPEN),
        (libc::FAN_MARK_FLUSH | libc::FAN_MARK_FILESYSTEM, 0),
        (whole, libc::FAN_OPEN_PERM),
        (whole, libc::FAN_ACCESS_PERM | libc::FAN_OPEN),
        (whole, libc::FAN_OPEN_EXEC_PERM),
    ] {
        let request = Request::Mark { flags, mask, path: b"/" };
        let refused = ask(&socket, &request, &[null.as_fd()]);
        assert_eq!(refused.unwrap_err(), Errno::PERM, "{flags:#x} {mask:#x}");
    }
    drop(socket);
    thread.join().unwrap();
}

#[test]
fn a_request_with_too_few_or_too_many_descriptors_is_refused() {
    let (socket, thread) = helper();
    let null = std::fs::File::open("/dev/null").unwrap();
    let mark = Request::MarkFd { flags: 0, mask: 0 };
    assert_eq!(ask(&socket, &mark, &[null.as_fd()]).unwrap_err(), Errno::INVAL);
    assert_eq!(ask(&socket, &Request::TraceFs, &[null.as_fd()]).unwrap_err(), Errno::INVAL);
    drop(socket);
    thread.join().unwrap();
}

#[test]
fn random_bytes_are_answered_with_an_error_and_the_helper_goes_on() {
    let (socket, thread) = helper();
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 1..6000))| {
        // A letter it knows is another test's.
        prop_assume!(!b"gmfbtp".contains(&bytes[0]));
        rustix::net::send(&socket, &bytes, rustix::net::SendFlags::NOSIGNAL).unwrap();
        let mut answer = [0; 8];
        let flags = rustix::net::RecvFlags::empty();
        let (length, _) = rustix::net::recv(&socket, &mut answer, flags).unwrap();
        prop_assert_eq!(&answer[..length], &Errno::PERM.raw_os_error().to_ne_bytes()[..]);
    });
    drop(socket);
    thread.join().unwrap();
}

#[test]
fn a_helper_that_has_ended_is_a_broken_pipe() {
    let (socket, thread) = helper();
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).unwrap();
    thread.join().unwrap();
    assert_eq!(ask(&socket, &Request::TraceFs, &[]).unwrap_err(), Errno::PIPE);
}

mod root {
    use super::*;

    #[test]
    fn a_group_made_by_the_helper_reports_what_the_helper_marked() {
        let (socket, thread) = helper();
        let directory = tempfile::tempdir().unwrap();
        let flags = libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_REPORT_DFID_NAME;
        let group = ask(&socket, &Request::Group { flags }, &[]).unwrap().unwrap();
        let shm = std::path::Path::new("/dev/shm");
        let path: &[u8] = if shm.is_dir() { b"/dev/shm" } else { b"/" };
        let mark = Request::Mark {
            flags: libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM,
            mask: libc::FAN_CREATE,
            path,
        };
        assert!(ask(&socket, &mark, &[group.as_fd()]).unwrap().is_none());
        let name = format!("osquery-ebpf-admin-{}", std::process::id());
        let file = std::path::Path::new(std::str::from_utf8(path).unwrap()).join(&name);
        std::fs::write(&file, "x").unwrap();
        std::fs::remove_file(&file).unwrap();
        let mut events = vec![0; 1 << 16];
        let length = rustix::io::read(&group, &mut events).unwrap();
        assert!(events[..length].windows(name.len()).any(|window| window == name.as_bytes()));
        drop((socket, directory));
        thread.join().unwrap();
    }
}
