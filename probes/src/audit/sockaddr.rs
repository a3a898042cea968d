//! Socket addresses as the kernel copied them from the caller: `saddr=` of a SOCKADDR record.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::event::Endpoint;

/// `AF_UNIX`.
pub const AF_UNIX: u16 = 1;
/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;

/// The address family. `None`: there are not even two bytes.
pub fn family(address: &[u8]) -> Option<u16> {
    array(address, 0).map(u16::from_ne_bytes)
}

/// The address. `None`: of another family, or shorter than that family's addresses are.
///
/// The kernel records as many bytes as the caller said there were, and callers say too much: a
/// unix path ends at its first NUL, unless it begins with one and so is an abstract name.
pub fn endpoint(address: &[u8]) -> Option<Endpoint> {
    let port = || array(address, 2).map(u16::from_be_bytes);
    match family(address)? {
        AF_INET => {
            let ip = Ipv4Addr::from(array::<4>(address, 4)?);
            Some(Endpoint::Inet(SocketAddr::V4(SocketAddrV4::new(ip, port()?))))
        }
        AF_INET6 => {
            let flow = u32::from_be_bytes(array(address, 4)?);
            let ip = Ipv6Addr::from(array::<16>(address, 8)?);
            // RFC 2133 callers leave the scope away.
            let scope = array(address, 24).map_or(0, u32::from_ne_bytes);
            Some(Endpoint::Inet(SocketAddr::V6(SocketAddrV6::new(ip, port()?, flow, scope))))
        }
        AF_UNIX => {
            let path = address.get(2..)?;
            let abstract_name = path.first()? == &0;
            let end = path.iter().position(|&byte| byte == 0).filter(|_| !abstract_name);
            Some(Endpoint::Unix(end.and_then(|end| path.get(..end)).unwrap_or(path).into()))
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
