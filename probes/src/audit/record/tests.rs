use super::*;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_stamp_is_taken_apart() {
    let (stamp, rest) = split(b"audit(1700000000.042:4294967295): a=1 b=2").unwrap();
    assert_eq!(stamp, Stamp { serial: u32::MAX, time_ms: 1_700_000_000_042 });
    assert_eq!(text(rest), "a=1 b=2");
    assert!(split(b"audit(1700000000.042:7): ").is_ok_and(|(_, rest)| rest.is_empty()));
}

#[test]
fn what_is_no_stamp_is_malformed() {
    for bad in [
        &b""[..],
        b"audit(",
        b"audit(1.1:1",
        b"audit(x.1:1): a=1",
        b"audit(1.1000:1): a=1",
        b"audit(1.1:4294967296): a=1",
        b"audit(-1.1:1): a=1",
        b"audit(99999999999999999999.1:1):",
    ] {
        assert_eq!(split(bad), Err(Malformed::Stamp), "{}", text(bad));
    }
}

#[test]
fn what_a_daemon_appended_is_cut_off() {
    let enriched = b"audit(1.1:1): arch=c000003e syscall=59\x1dARCH=x86_64 SYSCALL=execve";
    assert_eq!(text(split(enriched).unwrap().1), "arch=c000003e syscall=59");
}

#[test]
fn quotes_hold_spaces_and_equal_signs() {
    let fields: Vec<_> = Fields(br#"a0="x y=z" a1=(null) op=add rule key="k" msg='a=1 b=2' end"#)
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    let expected = [
        ("a0", "\"x y=z\""),
        ("a1", "(null)"),
        ("op", "add"),
        ("key", "\"k\""),
        ("msg", "'a=1 b=2'"),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn an_open_quote_ends_with_the_record() {
    assert_eq!(field(br#"a="x y"#, b"a"), Some(&br#""x y"#[..]));
    assert_eq!(untrusted(br#""x y"#), Some(b"x y".to_vec()));
}

#[test]
fn untrusted_text_is_quoted_or_hexadecimal() {
    assert_eq!(untrusted(b"\"plain\""), Some(b"plain".to_vec()));
    assert_eq!(untrusted(b"\"\""), Some(Vec::new()));
    assert_eq!(untrusted(b"6E65770A6c"), Some(b"new\nl".to_vec()));
    for bad in [&b"(null)"[..], b"(none)", b"ABC", b"0x41", b"", b"+1"] {
        assert_eq!(untrusted(bad), None, "{}", text(bad));
    }
}

#[test]
fn numbers_have_no_sign_unless_asked_for() {
    assert_eq!(number(b"ffffff9c", 16), Some(0xffff_ff9c));
    assert_eq!(number(b"+1", 10), None);
    assert_eq!(number(b"-1", 10), None);
    assert_eq!(number(b"", 10), None);
    assert_eq!(signed(b"-111"), Some(-111));
}
