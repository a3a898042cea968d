use super::*;

fn pushed(remembered: &Remembered, origin: Origin, text: &str) -> (String, bool) {
    let (mut out, mut written) = ("before ".to_owned(), false);
    remembered.push(&mut out, origin, |out| {
        written = true;
        out.push_str(text);
    });
    (out, written)
}

#[test]
fn a_text_is_written_once_and_appended_each_time() {
    let remembered = Remembered::default();
    assert_eq!(pushed(&remembered, (1, 1), "a"), ("before a".to_owned(), true));
    assert_eq!(pushed(&remembered, (1, 1), "not asked"), ("before a".to_owned(), false));
    assert_eq!(pushed(&remembered, (1, 2), "b"), ("before b".to_owned(), true));
}

#[test]
fn another_origin_in_the_same_place_has_its_own_text() {
    let remembered = Remembered::default();
    pushed(&remembered, (1, 1), "a");
    assert_eq!(pushed(&remembered, (2, 1), "b"), ("before b".to_owned(), true));
    assert_eq!(pushed(&remembered, (2, 1 + PLACES as u16), "c"), ("before c".to_owned(), true));
    assert_eq!(pushed(&remembered, (1, 1), "a"), ("before a".to_owned(), true));
}

#[test]
fn a_text_that_is_too_long_is_not_kept() {
    let remembered = Remembered::default();
    let long = "x".repeat(LONGEST + 1);
    assert!(pushed(&remembered, (1, 1), &long).1);
    assert!(pushed(&remembered, (1, 1), &long).1);
}
