use super::*;

fn rule() -> Rule {
    Rule::record()
        .with(Field::Arch, Compare::Equal, Arch::X86_64.token())
        .call(59)
        .call(322)
        .with_text(Field::Dir, b"/etc")
        .with(Field::Exit, Compare::NotEqual, 0xffff_fff5)
        .with_text(Field::FilterKey, b"osquery-ebpf")
}

#[test]
fn a_rule_is_the_kernels_structure_to_the_byte() {
    let bytes = rule().encode();
    // struct audit_rule_data: 1040 bytes, then the strings without NULs.
    assert_eq!(bytes.len(), 1040 + 4 + 12);
    let word = |index: usize| u32::from_ne_bytes(bytes[index * 4..][..4].try_into().unwrap());
    assert_eq!((word(0), word(1), word(2)), (4, 2, 4));
    assert_eq!((word(3 + 1), word(3 + 10)), (1 << 27, 1 << 2));
    let (fields, values, flags) = (3 + 64, 3 + 128, 3 + 192);
    assert_eq!(
        [word(fields), word(fields + 1), word(fields + 2), word(fields + 3)],
        [11, 107, 103, 210]
    );
    assert_eq!([word(values), word(values + 1), word(values + 3)], [0xc000_003e, 4, 12]);
    assert_eq!(word(flags + 2), 0x3000_0000);
    assert_eq!(word(259), 16);
    assert_eq!(&bytes[1040..], b"/etcosquery-ebpf");
}

#[test]
fn a_listed_rule_is_read_back() {
    assert_eq!(Rule::parse(&rule().encode()), Some(rule()));
    let bytes = rule().encode();
    for length in 0..bytes.len() {
        assert_eq!(Rule::parse(&bytes[..length]), None, "{length}");
    }
}

#[test]
fn a_rule_covers_the_calls_it_names_on_its_architecture() {
    let rule = rule();
    assert!(rule.covers(Arch::X86_64, 59) && rule.covers(Arch::X86_64, 322));
    assert!(!rule.covers(Arch::X86_64, 60) && !rule.covers(Arch::I386, 59));
    assert!(Rule::record().every_call().covers(Arch::I386, 2047));
    assert!(!Rule::record().every_call().covers(Arch::I386, 2048));
    assert_eq!(rule.narrowing().count(), 2);
}

#[test]
fn only_our_key_is_ours() {
    assert!(rule().is_ours());
    for key in ["osquery", "my-osquery-ebpf", ""] {
        assert!(!Rule::record().with_text(Field::FilterKey, key.as_bytes()).is_ours());
    }
    assert!(!Rule::record().is_ours());
}
