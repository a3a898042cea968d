use super::*;
use crate::options::Exclusions;

fn selection(exclude: Exclusions) -> Selection {
    Selection::new(&Options { exclude, ..Options::default() }).unwrap()
}

#[test]
fn only_execs_get_rows_by_default() {
    let selection = selection(Exclusions::default());
    let wanted: Vec<_> = EventKind::ALL.into_iter().filter(|&kind| selection.wants(kind)).collect();
    use EventKind::{Exec, Exit, File, Socket};
    assert_eq!(wanted, [Exec, Exit, Socket, File]);
}

#[test]
fn a_kind_with_its_own_table_cannot_be_a_process_event() {
    let options = Options { process_events: vec![EventKind::File], ..Options::default() };
    assert_eq!(Selection::new(&options).unwrap_err(), OptionError::ProcessEvents("file"));
}

#[test]
fn the_default_environment_keeps_what_tells_of_abuse_and_no_secrets() {
    let mut kept = Vec::new();
    selection(Exclusions::default()).keep_env(
        b"AWS_SECRET_ACCESS_KEY=x\0LD_PRELOAD=/tmp/a.so\0SUDO_USER=me\0PATHS=1\0PATH=/bin\0HOME\0",
        &mut kept,
    );
    assert_eq!(kept, b"LD_PRELOAD=/tmp/a.so\0SUDO_USER=me\0PATH=/bin\0HOME\0");
}

#[test]
fn networks_are_matched_by_their_bits() {
    let contains = |network: &str, address: &str| {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    };
    assert!(contains("10.0.0.0/8", "10.255.0.1"));
    assert!(!contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("0.0.0.0/0", "192.0.2.1"));
    assert!(!contains("0.0.0.0/0", "2001:db8::1"));
    assert!(contains("192.0.2.1", "192.0.2.1"));
    assert!(!contains("192.0.2.1", "192.0.2.2"));
    assert!(contains("192.0.2.1", "::ffff:192.0.2.1"));
    assert!(contains("::ffff:192.0.2.0/120", "192.0.2.77"));
    assert!(contains("2001:db8::/32", "2001:db8:1::1"));
    assert!(!contains("2001:db8::/32", "2001:db9::1"));
    assert!(contains("::/0", "2001:db8::1"));
    for wrong in ["10.0.0.0/33", "10.0.0/8", "::/129", "x", "10.0.0.0/-1"] {
        assert_eq!(wrong.parse::<Network>(), Err(OptionError::Network(wrong.into())));
    }
}

#[test]
fn patterns_uids_and_addresses_exclude() {
    let selection = selection(Exclusions {
        paths: vec!["/opt/noise/%%".into()],
        processes: vec!["/usr/bin/backup".into()],
        uids: vec![0, 33],
        addresses: vec!["127.0.0.0/8".parse().unwrap()],
    });
    assert!(selection.excludes_path(Some(b"/opt/noise/a/b")));
    assert!(!selection.excludes_path(Some(b"/opt/noise")));
    assert!(selection.excludes_process(Some(b"/usr/bin/backup")));
    assert!(selection.excludes_uid(Some(33)));
    assert!(!selection.excludes_uid(Some(34)));
    assert!(selection.excludes_address(Some("127.1.2.3".parse().unwrap())));
    // What is not known is not excluded.
    assert!(!selection.excludes_path(None));
    assert!(!selection.excludes_uid(None));
    assert!(!selection.excludes_address(None));
}

#[test]
fn a_relative_exclusion_is_refused() {
    let exclude = Exclusions { paths: vec!["tmp/%".into()], ..Exclusions::default() };
    let options = Options { exclude, ..Options::default() };
    assert_eq!(Selection::new(&options).unwrap_err(), OptionError::RelativePattern("tmp/%".into()));
}

#[test]
fn a_network_has_one_form_whichever_way_it_is_written() {
    let canonical = |network: &str| network.parse::<Network>().unwrap().canonical();
    let is = |address: &str, bits| (address.parse::<std::net::IpAddr>().unwrap(), bits);
    assert_eq!(canonical("10.0.0.0/8"), is("10.0.0.0", 8));
    assert_eq!(canonical("::ffff:10.0.0.0/104"), is("10.0.0.0", 8));
    assert_eq!(canonical("2001:db8::/32"), is("2001:db8::", 32));
    assert_eq!(canonical("::/0"), is("::", 0));
}
