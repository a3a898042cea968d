use super::*;

const TCP: &[u8] = b"   0: 0100007F:1F90 0200007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 20 4 30 10 -1";
const TCP6: &[u8] = b"   3: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0";

fn socket(action: SocketAction, local: Option<&str>, remote: Option<&str>) -> Socket {
    let end = |text: Option<&str>| text.map(|text| Endpoint::Inet(text.parse().unwrap()));
    Socket {
        action,
        syscall: None,
        fd: Some(3),
        id: None,
        family: None,
        socket_type: None,
        protocol: None,
        local: end(local),
        remote: end(remote),
        result: Some(0),
        call_ns: None,
        end: None,
    }
}

fn tcp() -> Entry {
    entry(TCP, AF_INET, IPPROTO_TCP).unwrap().1
}

#[test]
fn a_line_of_each_family_is_read() {
    let (inode, found) = entry(TCP, AF_INET, IPPROTO_TCP).unwrap();
    assert_eq!((inode, found.state), (4242, 1));
    assert_eq!(found.local, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(found.remote, "127.0.0.2:54321".parse().unwrap());
    let (inode, found) = entry(TCP6, AF_INET6, IPPROTO_TCP).unwrap();
    assert_eq!((inode, found.state), (77, LISTEN));
    assert_eq!(found.local, "[::1]:22".parse().unwrap());
}

#[test]
fn what_is_no_line_is_none() {
    for length in 0..91 {
        assert_eq!(entry(&TCP[..length], AF_INET, IPPROTO_TCP), None, "{length}");
    }
    assert_eq!(address(b"0100007F:1F901"), None);
    assert_eq!(address(b"01007F:1F90"), None);
}

#[test]
fn a_socket_that_agrees_lends_what_the_records_lack() {
    let mut connect = socket(SocketAction::Connect, None, Some("127.0.0.2:54321"));
    tcp().complete(&mut connect);
    assert_eq!(connect.local, Some(Endpoint::Inet("127.0.0.1:8080".parse().unwrap())));
    assert_eq!((connect.protocol, connect.socket_type), (Some(6), Some(1)));
    let mut bind = socket(SocketAction::Bind, Some("127.0.0.1:0"), None);
    tcp().complete(&mut bind);
    assert_eq!(bind.local, Some(Endpoint::Inet("127.0.0.1:8080".parse().unwrap())));
    assert_eq!(bind.remote, None);
    let mut accept = socket(SocketAction::Accept, None, None);
    tcp().complete(&mut accept);
    assert_eq!(accept.remote, Some(Endpoint::Inet("127.0.0.2:54321".parse().unwrap())));
}

#[test]
fn another_socket_that_has_the_descriptor_by_now_lends_nothing() {
    for other in [
        socket(SocketAction::Connect, None, Some("127.0.0.9:54321")),
        socket(SocketAction::Connect, None, Some("[::1]:54321")),
        socket(SocketAction::Bind, Some("127.0.0.1:8081"), None),
        socket(SocketAction::Bind, Some("0.0.0.0:0"), None),
        socket(SocketAction::Listen, None, None),
    ] {
        let mut completed = other.clone();
        tcp().complete(&mut completed);
        assert_eq!(completed, other);
    }
}

#[test]
fn a_port_the_kernel_chose_is_not_the_0_that_was_asked_for() {
    let mut bind = socket(SocketAction::Bind, Some("127.0.0.1:0"), None);
    forget_wishes(&mut bind);
    assert_eq!(bind.local, None);
    let mut bind = socket(SocketAction::Bind, Some("127.0.0.1:80"), None);
    forget_wishes(&mut bind);
    assert!(bind.local.is_some());
}

#[test]
fn our_own_sockets_are_found_and_told_from_unix_ones() {
    use std::os::fd::AsRawFd;
    let pid = std::process::id();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sockets = Sockets::default();
    assert!(sockets.begin(0));
    let mut listen = socket(SocketAction::Listen, None, None);
    listen.fd = Some(listener.as_raw_fd());
    assert!(sockets.complete(pid, &mut listen));
    assert_eq!(listen.local, Some(Endpoint::Inet(listener.local_addr().unwrap())));
    assert_eq!(listen.family, Some(AF_INET));
    // A batch sees what was there when it began.
    assert!(sockets.begin(1));
    let (unix, _) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut accept = socket(SocketAction::Accept, None, None);
    accept.fd = Some(unix.as_raw_fd());
    assert!(!sockets.complete(pid, &mut accept));
}

#[test]
fn looking_up_takes_no_more_than_its_share_of_time() {
    let mut sockets = Sockets::default();
    assert!(sockets.begin(100));
    sockets.end(100, 110);
    assert!(!sockets.begin(109 + 10 * SHARE));
    assert!(sockets.begin(110 + 10 * SHARE));
}
