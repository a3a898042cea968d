//! Unix sockets, on and off.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use super::watch::{Watch, here, shared};
use crate::event::{Endpoint, SocketAction};

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("{name}-{}-{}", std::process::id(), here()));
    let _ = std::fs::remove_file(&path);
    path
}

fn named(name: &[u8]) -> Option<Endpoint> {
    Some(Endpoint::Unix(name.into()))
}

#[test]
fn a_unix_connection_has_paths_and_an_unnamed_peer_has_none() {
    let watch = shared();
    let path = scratch("unix");
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert!(peer.is_unnamed());
    std::fs::remove_file(&path).unwrap();

    let name = named(path.as_os_str().as_bytes());
    for action in [SocketAction::Bind, SocketAction::Listen] {
        let (_, socket) = watch.one(here(), action);
        assert_eq!((socket.local, socket.remote), (name.clone(), None));
        assert_eq!((socket.family, socket.result), (Some(1), Some(0)));
    }
    let (_, connect) = watch.one(here(), SocketAction::Connect);
    assert_eq!((connect.local, connect.remote), (None, name.clone()));
    let (_, accept) = watch.one(here(), SocketAction::Accept);
    assert_eq!((accept.local, accept.remote), (name, None));
    let fd = std::os::fd::AsRawFd::as_raw_fd(&server);
    assert_eq!(accept.fd, Some(fd));
}

#[test]
fn an_abstract_name_keeps_its_leading_nul() {
    let watch = shared();
    let name = format!("abstract-{}", here());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _server = UnixDatagram::bind_addr(&address).unwrap();
    let client = UnixDatagram::unbound().unwrap();
    client.connect_addr(&address).unwrap();
    let (_, connect) = watch.one(here(), SocketAction::Connect);
    assert_eq!(connect.remote, named(format!("\0{name}").as_bytes()));
    assert_eq!(connect.socket_type, Some(2));
}

#[test]
fn a_path_where_nobody_listens_is_what_was_asked_for() {
    let watch = shared();
    let path = scratch("nobody");
    let error = UnixStream::connect(&path).unwrap_err();
    let (_, connect) = watch.one(here(), SocketAction::Connect);
    assert_eq!(connect.result, error.raw_os_error().map(|errno| -errno));
    assert_eq!(connect.remote, named(path.as_os_str().as_bytes()));
}

#[test]
fn unix_sockets_are_switched_while_programs_run() {
    let watch = Watch::start(|config| config.unix_sockets = false);
    let path = scratch("switched");
    drop(UnixListener::bind(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(watch.sockets(here(), SocketAction::Bind), []);

    watch.reconfigure(|config| config.unix_sockets = true).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(watch.sockets(here(), SocketAction::Bind).len(), 1);

    watch.reconfigure(|config| config.unix_sockets = false).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(watch.sockets(here(), SocketAction::Bind).len(), 1);
}
