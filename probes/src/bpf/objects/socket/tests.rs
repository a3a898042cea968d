//! On the live kernel. What is expected comes from the sockets themselves: `getsockname`,
//! `getpeername`, `SO_ERROR`, the errno of the call, the bytes it moved. Traffic stays on loopback.

mod root {
    mod bounds;
    mod callers;
    mod compare;
    mod missed;
    mod outcomes;
    mod unix;
    mod watch;

    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsFd as _, AsRawFd as _};
    use std::thread;

    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use self::watch::{Watch, here, inet, shared, tier};
    use crate::clock::boot_now_ns;
    use crate::event::{SocketAction, SourceKind};
    use crate::source::TierWish;

    const V4: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
    const V6: (Ipv6Addr, u16) = (Ipv6Addr::LOCALHOST, 0);

    /// An address on which nobody listens: it was ours a moment ago.
    fn nobody() -> SocketAddr {
        TcpListener::bind(V4).unwrap().local_addr().unwrap()
    }

    #[test]
    fn a_successful_connect_has_both_ends_and_its_descriptor() {
        let watch = shared();
        let listener = TcpListener::bind(V4).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (event, socket) = watch.one(here(), SocketAction::Connect);
        assert_eq!(event.source, SourceKind::Bpf);
        assert_eq!((event.task.pid, event.task.tid), (std::process::id(), here()));
        assert_eq!(socket.local, inet(client.local_addr().unwrap()));
        assert_eq!(socket.remote, inet(client.peer_addr().unwrap()));
        assert_eq!(socket.fd, Some(client.as_raw_fd()));
        assert_eq!((socket.result, socket.syscall), (Some(0), Some("connect")));
        let numbers = (socket.family, socket.socket_type, socket.protocol);
        assert_eq!(numbers, (Some(2), Some(1), Some(6)));
    }

    #[test]
    fn a_refused_connect_is_not_a_success() {
        let watch = shared();
        let nobody = nobody();
        // Bound first, so that the local port is known although the call fails.
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&client, &SocketAddr::from(V4)).unwrap();
        let local: SocketAddr = rustix::net::getsockname(&client).unwrap().try_into().unwrap();
        let error = rustix::net::connect(&client, &nobody).unwrap_err();
        assert_eq!(error.raw_os_error(), libc::ECONNREFUSED);

        let (event, socket) = watch.one(here(), SocketAction::Connect);
        assert_eq!(socket.result, Some(-libc::ECONNREFUSED));
        assert_eq!(socket.remote, inet(nobody));
        assert_eq!(socket.local, inet(local));
        assert_eq!(socket.end, None);
        drop(client);
        // Nothing was established, so nothing is closed.
        assert_eq!(watch.sockets(here(), SocketAction::Close), []);
        assert_eq!(watch.connections(socket.id.unwrap(), event.time_ns), []);
    }

    #[test]
    fn a_connect_that_fails_before_it_sends_has_the_address_that_was_asked_for() {
        let watch = shared();
        // A stream socket may not connect to a broadcast address.
        let asked: SocketAddr = "255.255.255.255:80".parse().unwrap();
        let error = TcpStream::connect(asked).unwrap_err();
        let (_, socket) = watch.one(here(), SocketAction::Connect);
        assert_eq!(socket.result, error.raw_os_error().map(|errno| -errno));
        assert_eq!(socket.remote, inet(asked));
        assert_eq!(socket.local, None);
    }

    #[test]
    fn ipv6_has_both_ends_and_v4_mapped_stays_ipv6() {
        let watch = shared();
        let listener = TcpListener::bind(V6).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let listener4 = TcpListener::bind(V4).unwrap();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let asked = SocketAddr::from((mapped, listener4.local_addr().unwrap().port()));
        let client4 = TcpStream::connect(asked).unwrap();

        let found = watch.sockets(here(), SocketAction::Connect);
        let [plain, four] = found.as_slice() else { panic!("{found:#?}") };
        assert_eq!(plain.family, Some(10));
        assert_eq!(plain.local, inet(client.local_addr().unwrap()));
        assert_eq!(plain.remote, inet(client.peer_addr().unwrap()));
        assert_eq!(four.family, Some(10));
        assert_eq!(four.local, inet(client4.local_addr().unwrap()));
        assert_eq!(four.remote, inet(asked));
    }

    #[test]
    fn bind_listen_and_accept_each_have_the_port_the_kernel_chose() {
        let watch = shared();
        let listener = TcpListener::bind(V4).unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());

        for (action, syscall) in [(SocketAction::Bind, "bind"), (SocketAction::Listen, "listen")] {
            let (_, socket) = watch.one(here(), action);
            assert_eq!(socket.local, inet(local));
            assert_eq!(socket.remote, None);
            assert_eq!((socket.result, socket.syscall), (Some(0), Some(syscall)));
            assert_eq!(socket.fd, Some(listener.as_raw_fd()));
        }
        let (_, accept) = watch.one(here(), SocketAction::Accept);
        assert_eq!(accept.local, inet(server.local_addr().unwrap()));
        assert_eq!(accept.remote, inet(server.peer_addr().unwrap()));
        assert_eq!(accept.fd, Some(server.as_raw_fd()));
        assert_eq!((accept.result, accept.syscall), (Some(server.as_raw_fd()), Some("accept4")));
    }

    #[test]
    fn accept_is_told_from_accept4() {
        let watch = shared();
        let listener = TcpListener::bind(V4).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let null = std::ptr::null_mut();
        // SAFETY: the call takes null for an address that is not wanted.
        let fd = unsafe { libc::accept(listener.as_raw_fd(), null, std::ptr::null_mut()) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the call gave us this descriptor.
        let _server = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
        let (_, accept) = watch.one(here(), SocketAction::Accept);
        assert_eq!((accept.syscall, accept.fd), (Some("accept"), Some(fd)));
    }

    #[test]
    fn an_accept_that_nobody_answers_has_the_listeners_port_and_no_peer() {
        let watch = shared();
        let listener = TcpListener::bind(V4).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let (_, accept) = watch.one(here(), SocketAction::Accept);
        assert_eq!(accept.result, Some(-libc::EAGAIN));
        assert_eq!(accept.local, inet(listener.local_addr().unwrap()));
        assert_eq!(accept.remote, None);
        assert_eq!(accept.fd, Some(listener.as_raw_fd()));
    }

    #[test]
    fn a_bind_that_fails_has_the_address_that_was_asked_for() {
        let watch = shared();
        let taken = TcpListener::bind(V4).unwrap().local_addr().unwrap();
        let _holder = UdpSocket::bind(taken).unwrap();
        let error = UdpSocket::bind(taken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let binds = watch.sockets(here(), SocketAction::Bind);
        let [.., last] = binds.as_slice() else { panic!("no bind") };
        assert_eq!(last.result, Some(-libc::EADDRINUSE));
        assert_eq!(last.local, inet(taken));
    }

    #[test]
    fn a_udp_connect_is_seen() {
        let watch = shared();
        let peer = UdpSocket::bind(V4).unwrap().local_addr().unwrap();
        // Not bound: the kernel chooses the port within connect.
        let client = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        rustix::net::connect(&client, &peer).unwrap();
        let local: SocketAddr = rustix::net::getsockname(&client).unwrap().try_into().unwrap();
        let (_, socket) = watch.one(here(), SocketAction::Connect);
        assert_eq!((socket.local, socket.remote), (inet(local), inet(peer)));
        assert_eq!((socket.result, socket.protocol), (Some(0), Some(17)));
    }

    #[test]
    fn dissolving_an_association_is_no_connect() {
        let watch = shared();
        let peer = UdpSocket::bind(V4).unwrap().local_addr().unwrap();
        let client = UdpSocket::bind(V4).unwrap();
        client.connect(peer).unwrap();
        rustix::net::connect_unspec(&client).unwrap();
        assert!(client.peer_addr().is_err());
        let (_, socket) = watch.one(here(), SocketAction::Connect);
        assert_eq!(socket.remote, inet(peer));
    }

    #[test]
    fn a_connect_by_a_thread_has_its_thread_id() {
        let watch = shared();
        let listener = TcpListener::bind(V4).unwrap();
        let address = listener.local_addr().unwrap();
        let (tid, local) = thread::spawn(move || {
            (here(), TcpStream::connect(address).unwrap().local_addr().unwrap())
        })
        .join()
        .unwrap();
        let (event, socket) = watch.one(tid, SocketAction::Connect);
        assert_eq!((event.task.pid, event.task.tid), (std::process::id(), tid));
        assert_ne!(tid, std::process::id());
        assert_eq!(socket.local, inet(local));
    }

    #[test]
    fn what_is_no_socket_makes_no_row() {
        let watch = shared();
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let error = rustix::net::connect(&file, &nobody()).unwrap_err();
        assert_eq!(error, rustix::io::Errno::NOTSOCK);
        assert_eq!(watch.sockets(here(), SocketAction::Connect), []);
    }

    #[test]
    fn a_socket_file_opened_by_path_is_no_socket() {
        let watch = shared();
        let path = std::env::temp_dir().join(format!("by-path-{}", here()));
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(rustix::net::listen(&file, 1).is_err());
        assert_eq!(watch.sockets(here(), SocketAction::Listen).len(), 1);
    }

    #[test]
    fn the_first_datagram_to_each_peer_is_a_connect_where_asked_for() {
        let watch = shared();
        let peers = [UdpSocket::bind(V4).unwrap(), UdpSocket::bind(V4).unwrap()];
        let client = UdpSocket::bind(V4).unwrap();
        for _ in 0..3 {
            for peer in &peers {
                client.send_to(b"x", peer.local_addr().unwrap()).unwrap();
            }
        }
        let found = watch.sockets(here(), SocketAction::Connect);
        let [first, second] = found.as_slice() else { panic!("{found:#?}") };
        for (found, peer) in [(first, &peers[0]), (second, &peers[1])] {
            assert_eq!(found.remote, inet(peer.local_addr().unwrap()));
            assert_eq!(found.local, inet(client.local_addr().unwrap()));
            assert_eq!((found.result, found.syscall), (Some(0), Some("sendto")));
        }
        // A new socket is a new sender, even where the old one's memory is used again.
        drop(client);
        let again = UdpSocket::bind(V4).unwrap();
        again.send_to(b"x", peers[0].local_addr().unwrap()).unwrap();
        assert_eq!(watch.sockets(here(), SocketAction::Connect).len(), 3);
    }

    /// In tier 2 a call stands for all that it sends: its array would have to be read before the kernel
    /// does, element by element.
    #[test]
    fn many_datagrams_in_one_call_have_a_connect_for_each_peer_or_for_the_first() {
        let watch = shared();
        let peers = [V4, V4, V4].map(|at| UdpSocket::bind(at).unwrap());
        let addresses = peers.each_ref().map(|peer| peer.local_addr().unwrap());
        let client = UdpSocket::bind(V4).unwrap();
        let mut names = addresses.map(callers::raw);
        let mut messages = names.each_mut().map(|name| {
            // SAFETY: zero is a value of each field: no buffers, no control message.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            message.msg_hdr.msg_namelen = callers::RAW_BYTES;
            message
        });
        // SAFETY: three messages, whose names outlive the call.
        let sent = unsafe { libc::sendmmsg(client.as_raw_fd(), messages.as_mut_ptr(), 3, 0) };
        assert_eq!(sent, 3, "{}", std::io::Error::last_os_error());
        let found = watch.sockets(here(), SocketAction::Connect);
        let remotes: Vec<_> = found.iter().map(|socket| socket.remote.clone()).collect();
        let known = if watch::by_functions() { &addresses[..] } else { &addresses[..1] };
        assert_eq!(remotes, known.iter().map(|known| inet(*known)).collect::<Vec<_>>());
        for socket in &found {
            assert_eq!((socket.syscall, socket.result), (Some("sendmmsg"), Some(0)), "{socket:?}");
        }
    }

    #[test]
    fn datagrams_are_left_alone_where_not_asked_for() {
        let watch = Watch::start(|config| config.datagram_peers = false);
        let peer = UdpSocket::bind(V4).unwrap();
        let client = UdpSocket::bind(V4).unwrap();
        client.send_to(b"x", peer.local_addr().unwrap()).unwrap();
        assert_eq!(watch.sockets(here(), SocketAction::Connect), []);
        assert_eq!(watch.sockets(here(), SocketAction::Bind).len(), 2);
    }

    #[test]
    fn datagrams_are_switched_off_and_on_while_programs_run_loaded_before_or_not() {
        let send = || {
            let peer = UdpSocket::bind(V4).unwrap();
            let client = UdpSocket::bind(V4).unwrap();
            client.send_to(b"x", peer.local_addr().unwrap()).unwrap();
        };
        let watch = Watch::start(|_| ());
        watch.reconfigure(|config| config.datagram_peers = false).unwrap();
        send();
        assert_eq!(watch.sockets(here(), SocketAction::Connect), []);
        watch.reconfigure(|_| ()).unwrap();
        send();
        assert_eq!(watch.sockets(here(), SocketAction::Connect).len(), 1);

        let without = Watch::start(|config| config.datagram_peers = false);
        send();
        assert_eq!(without.sockets(here(), SocketAction::Connect), []);
        without.reconfigure(|_| ()).unwrap();
        send();
        assert_eq!(without.sockets(here(), SocketAction::Connect).len(), 1);
    }

    fn until_it_waits_in_accept(tid: u32) {
        watch::until("the thread waits in accept", || {
            let call = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap();
            call.starts_with(&format!("{} ", libc::SYS_accept4)).then_some(())
        });
    }

    #[test]
    fn the_time_in_a_call_goes_back_to_where_it_began() {
        let watch = shared();
        let listener = TcpListener::bind(V4).unwrap();
        let address = listener.local_addr().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let server = thread::spawn(move || {
            send.send((here(), boot_now_ns())).unwrap();
            listener.accept().unwrap();
        });
        let (tid, before) = receive.recv().unwrap();
        until_it_waits_in_accept(tid);
        let within = boot_now_ns();
        let client = TcpStream::connect(address).unwrap();
        server.join().unwrap();
        drop(client);
        let (event, accept) = watch.one(tid, SocketAction::Accept);
        let began = event.time_ns - accept.call_ns.unwrap();
        assert!((before..=within).contains(&began), "{before} {began} {within}");
        // Nothing is made up for what was seen without a call.
        assert_eq!(watch.close(tid).call_ns, None);
    }

    #[test]
    fn an_accept_that_waited_when_we_came_is_reported() {
        let listener = TcpListener::bind(V4).unwrap();
        let address = listener.local_addr().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let server = thread::spawn(move || {
            send.send(here()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            (server.local_addr().unwrap(), peer)
        });
        let tid = receive.recv().unwrap();
        until_it_waits_in_accept(tid);
        let watch = Watch::start(|_| ());
        let _client = TcpStream::connect(address).unwrap();
        let (local, peer) = server.join().unwrap();
        let (_, accept) = watch.one(tid, SocketAction::Accept);
        assert_eq!((accept.local, accept.remote), (inet(local), inet(peer)));
        assert_eq!((accept.syscall, accept.call_ns), (Some("accept4"), None));
    }

    #[test]
    fn our_own_process_is_left_out_and_counted() {
        let watch = Watch::start(|config| config.own_pid = std::process::id());
        let before = watch.health().filtered_kernel;
        let listener = TcpListener::bind(V4).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(watch.events(|event| event.task.pid == std::process::id()), []);
        // bind, listen, connect, accept; other tests of this process may add theirs.
        assert!(watch.health().filtered_kernel >= before + 4);
    }

    #[test]
    fn health_says_which_tier_is_in_force_and_what_it_does_not_see() {
        let health = shared().health();
        let missed = health.reason.contains("do not see 32-bit programs and io_uring");
        match (tier(), health.tier) {
            (TierWish::Functions | TierWish::Auto, "fentry") => {
                assert!(!missed, "{}", health.reason);
                // Two of them are for MPTCP, which a kernel may be built without.
                assert!((30..=32).contains(&health.probes_attached), "{health:?}");
            }
            (TierWish::Calls | TierWish::Auto, "tracepoint") => {
                assert!(missed, "{}", health.reason);
                assert_eq!(health.probes_attached, 19, "{health:?}");
            }
            (asked, got) => panic!("{asked:?} was asked for, {got} is in force: {}", health.reason),
        }
        assert_eq!(health.probes_failed, 0, "{health:?}");
        assert_eq!((health.malformed, health.lost_ring), (0, 0), "{health:?}");
        let asked = health.reason.contains("tracepoint probes were asked for, and no others");
        assert_eq!(asked, tier() == TierWish::Calls, "{}", health.reason);
        if tier() == TierWish::Auto && health.tier == "tracepoint" {
            assert!(
                health.reason.starts_with("connect, bind, listen, accept, send: "),
                "{}",
                health.reason
            );
        }
    }

    /// What a kernel without trampolines does when they are insisted on; on others, both are there.
    #[test]
    fn a_tier_that_is_insisted_on_and_cannot_be_had_is_missing_with_the_reason() {
        let watch = Watch::start(|config| config.tier = TierWish::Functions);
        let health = watch.health();
        if watch::trampolines() {
            assert_eq!((health.tier, health.probes_failed), ("fentry", 0), "{health:?}");
            return;
        }
        // The kernel's own tracepoints of TCP are all there is.
        assert_eq!((health.tier, health.probes_attached), ("tp_btf", 3), "{health:?}");
        assert_eq!(health.probes_failed, 5, "{health:?}");
        let of = "connect, bind, listen, accept, send: ";
        let why = format!("{of}this kernel attaches no programs to functions: ");
        let asked = format!("{of}fentry probes were asked for, and no others; {why}");
        assert!(health.reason.starts_with(&asked), "{}", health.reason);
        assert!(health.last_error.starts_with(&why), "{}", health.last_error);
    }

    #[test]
    fn a_descriptor_of_another_kind_is_not_followed() {
        let watch = shared();
        let flags = SocketFlags::CLOEXEC;
        let netlink =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).unwrap();
        // Fails or not, it is a family nobody asked for.
        let _ = rustix::net::listen(netlink.as_fd(), 1);
        assert_eq!(watch.sockets(here(), SocketAction::Listen), []);
    }
}
