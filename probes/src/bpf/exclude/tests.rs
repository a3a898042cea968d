use super::*;

fn bytes(network: &str, bits: u8) -> (u32, u8, Vec<u8>) {
    let key = key((network.parse().unwrap(), bits));
    let key: wire::NetworkKey = wire::read(&key).unwrap();
    (key.bits, key.family, key.address.to_vec())
}

#[test]
fn a_networks_key_has_its_family_first_and_no_bits_that_do_not_count() {
    let (bits, family, address) = bytes("10.255.255.255", 9);
    assert_eq!((bits, family), (17, 4));
    assert_eq!(address, [10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (bits, family, address) = bytes("2001:db8::1", 128);
    assert_eq!((bits, family), (136, 6));
    assert_eq!(address, "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(bytes("::", 0), (8, 6, vec![0; 16]));
    assert_eq!(bytes("192.0.2.1", 0), (8, 4, vec![0; 16]));
}

#[test]
fn a_device_is_what_the_kernel_has_in_its_superblock() {
    assert_eq!(kernel_device(rustix::fs::makedev(253, 0)), Some(253 << 20));
    assert_eq!(kernel_device(rustix::fs::makedev(8, 300)), Some(8 << 20 | 300));
}

#[test]
fn a_process_of_which_too_little_is_known_is_not_marked() {
    assert!(mark(None, Some((1, 2))).is_none());
    assert!(mark(Some(1), None).is_none());
    assert!(mark(Some(1), Some((1, 2))).is_some());
}
