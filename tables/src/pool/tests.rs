use super::*;

#[test]
fn equal_strings_are_kept_once() {
    let mut pool = Pool::default();
    let first = pool.intern(Some(b"/usr/bin/ls"));
    let other = pool.intern(Some(b"/usr/bin/cat"));
    assert_eq!(pool.intern(Some(b"/usr/bin/ls")), first);
    assert_ne!(first, other);
    assert_eq!(pool.get(first), Some(b"/usr/bin/ls".as_slice()));
    assert_eq!(pool.iter().count(), 2);
}

#[test]
fn unknown_is_not_empty() {
    let mut pool = Pool::default();
    let empty = pool.intern(Some(b""));
    assert!(empty.is_known());
    assert_eq!(pool.get(empty), Some(b"".as_slice()));
    assert_eq!(pool.intern(None), Text::NONE);
    assert_eq!(pool.get(Text::NONE), None);
}

#[test]
fn sealing_and_copying_keep_every_string() {
    let mut pool = Pool::default();
    let texts: Vec<Text> =
        (0..1000).map(|n| pool.intern(Some(format!("string {n}").as_bytes()))).collect();
    let copy = pool.read_only();
    let before = pool.heap_bytes();
    pool.seal();
    assert!(pool.heap_bytes() < before);
    for (n, text) in texts.into_iter().enumerate() {
        let expected = format!("string {n}");
        assert_eq!(pool.get(text), Some(expected.as_bytes()));
        assert_eq!(copy.get(text), Some(expected.as_bytes()));
    }
}

#[test]
fn a_full_pool_knows_what_it_has_and_takes_no_more() {
    let mut pool = Pool::default();
    let texts: Vec<Text> = (0..MAX_STRINGS).map(|n| pool.intern(Some(&n.to_le_bytes()))).collect();
    assert!(texts.iter().all(|text| text.is_known()));
    assert_eq!(pool.intern(Some(b"one more")), Text::NONE);
    assert_eq!(pool.intern(Some(&7_usize.to_le_bytes())), texts[7]);
    assert_eq!(pool.get(texts[MAX_STRINGS - 1]), Some((MAX_STRINGS - 1).to_le_bytes().as_slice()));
    assert_eq!(pool.iter().count(), MAX_STRINGS);
}
