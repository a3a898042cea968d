use super::*;

fn args(records: &[&str]) -> Args {
    let mut args = Args::default();
    for record in records {
        args.add(record.as_bytes()).unwrap();
    }
    args
}

#[test]
fn arguments_are_ended_by_nul() {
    let args = args(&[r#"argc=3 a0="a" a1="" a2=6220"#]);
    assert!(args.complete());
    let (strings, cut) = args.strings();
    assert!(!cut);
    assert_eq!(strings.bytes.as_deref(), Some(&b"a\0\0b \0"[..]));
    assert_eq!((strings.size, strings.count), (Some(6), Some(3)));
}

#[test]
fn parts_are_joined_in_whatever_order_they_come() {
    let first = r#"argc=3 a0="x" a1_len=8 a1[0]=6162"#;
    let (second, third) = (" a1[1]=6364", r#" a2_len=4 a2[0]="yy" a2[1]="zz""#);
    for order in [[first, second, third], [third, second, first], [second, first, third]] {
        let args = args(&order);
        assert!(args.complete(), "{order:?}");
        let (strings, cut) = args.strings();
        assert_eq!(strings.bytes.as_deref(), Some(&b"x\0abcd\0yyzz\0"[..]));
        assert_eq!(strings.size, Some(12));
        assert!(!cut);
    }
}

#[test]
fn a_missing_part_cuts_the_vector_there_and_is_said() {
    let args = args(&[r#"argc=3 a0="x" a1_len=8 a1[0]=6162"#, r#" a2="z""#]);
    assert!(!args.complete());
    let (strings, cut) = args.strings();
    assert!(cut);
    assert_eq!(strings.bytes.as_deref(), Some(&b"x\0ab"[..]));
    assert_eq!((strings.size, strings.count), (None, Some(3)));
}

#[test]
fn arguments_beyond_the_bound_are_cut_and_their_true_size_is_kept() {
    let mut args = Args::default();
    let count = 10_000_usize;
    args.add(format!("argc={count}").as_bytes()).unwrap();
    for index in 0..count {
        args.add(format!(" a{index}=\"0123456789\"").as_bytes()).unwrap();
        assert!(args.held <= 2 * MAX_ARGS);
    }
    assert!(args.complete());
    let (strings, cut) = args.strings();
    assert!(cut);
    assert_eq!(strings.bytes.map(|bytes| bytes.len()), Some(MAX_ARGS));
    assert_eq!(strings.size, Some(11 * count as u64));
    assert_eq!(strings.count, Some(10_000));
}

#[test]
fn fields_that_are_no_arguments_are_malformed() {
    for bad in ["argc=x", "a=1", "b0=\"x\"", "a0=xyz", "a0[0]=61", "a0_len=z", "a99999999999=\"x\""]
    {
        assert!(Args::default().add(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn no_record_at_all_is_not_an_empty_vector() {
    let (strings, cut) = Args::default().strings();
    assert_eq!(strings, Strings::default());
    assert!(cut);
}

#[test]
fn no_arguments_is_an_empty_vector() {
    let (strings, cut) = args(&["argc=0"]).strings();
    assert_eq!(strings.bytes.as_deref(), Some(&b""[..]));
    assert_eq!((strings.size, strings.count, cut), (Some(0), Some(0), false));
}
