use super::*;

fn with(write: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    write(&mut out);
    out
}

#[test]
fn invalid_utf8_and_nul_are_escaped_and_control_bytes_are_kept() {
    assert_eq!(
        with(|out| push_bytes(out, b"a\xff\xc3\n\x1b[0m\0\xc3\xa9")),
        "a\\xff\\xc3\n\u{1b}[0m\\x00é"
    );
}

#[test]
fn a_list_keeps_its_empty_strings() {
    let list = |bytes: &'static [u8]| strings(bytes).collect::<Vec<_>>();
    assert_eq!(list(b""), Vec::<&[u8]>::new());
    assert_eq!(list(b"\0"), [b"".as_slice()]);
    assert_eq!(list(b"a\0\0b\0"), [b"a".as_slice(), b"", b"b"]);
    assert_eq!(list(b"a\0b"), [b"a".as_slice(), b"b"]);
}

#[test]
fn arguments_are_joined_by_one_space_and_newlines_survive() {
    assert_eq!(with(|out| push_joined(out, b"sh\0-c\0echo a\nb\0\0")), "sh -c echo a\nb ");
}

#[test]
fn a_json_list_can_be_read_back() {
    let text = with(|out| push_json_list(out, b"a\"b\0c\\d\0\xff\0tab\t\x01\0"));
    assert_eq!(text, r#"["a\"b","c\\d","\\xff","tab\t\u0001"]"#);
    let read: Vec<String> = serde_json::from_str(&text).unwrap();
    assert_eq!(read, ["a\"b", "c\\d", "\\xff", "tab\t\u{1}"]);
}

#[test]
fn ipv6_is_rfc_5952_or_as_the_core_has_it() {
    let address = "2001:db8:0:0:1:0:0:1".parse().unwrap();
    assert_eq!(with(|out| push_address(out, address, Ipv6Format::Rfc5952)), "2001:db8::1:0:0:1");
    assert_eq!(
        with(|out| push_address(out, address, Ipv6Format::Core)),
        "2001:0db8:0000:0000:0001:0000:0000:0001"
    );
    let mapped = "::ffff:192.0.2.1".parse().unwrap();
    assert_eq!(with(|out| push_address(out, mapped, Ipv6Format::Rfc5952)), "::ffff:192.0.2.1");
    let v4 = "192.0.2.1".parse().unwrap();
    assert_eq!(with(|out| push_address(out, v4, Ipv6Format::Core)), "192.0.2.1");
}

#[test]
fn modes_are_written_as_each_core_table_does() {
    assert_eq!(with(|out| push_audit_mode(out, 0o100_755)), "0100755");
    assert_eq!(with(|out| push_audit_mode(out, 0o104_755)), "0104755");
    assert_eq!(with(|out| push_permissions(out, 0o100_644)), "0644");
    assert_eq!(with(|out| push_permissions(out, 0o104_755)), "4755");
}

#[test]
fn event_ids_have_ten_digits() {
    assert_eq!(with(|out| push_eid(out, 1)), "0000000001");
    assert_eq!(with(|out| push_eid(out, 12_345_678_901)), "12345678901");
}

#[test]
fn an_abstract_name_cannot_be_taken_for_a_path() {
    assert_eq!(with(|out| push_unix(out, b"\0/run/docker.sock")), "@/run/docker.sock");
    assert_eq!(with(|out| push_unix(out, b"/run/docker.sock")), "/run/docker.sock");
}
