use super::*;
use crate::Scratch;

fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
    Spread::of(values.to_vec()).map(|spread| (spread.min, spread.median, spread.max))
}

fn of(figures: &[(&str, f64)]) -> Figures {
    let mut made = Figures::default();
    for (name, value) in figures {
        made.one(name, "ms", *value);
    }
    made
}

#[test]
fn the_median_is_in_the_middle_of_what_was_sorted() {
    assert_eq!(spread(&[9.0, 1.0, 2.0]), Some((1.0, 2.0, 9.0)));
    assert_eq!(spread(&[-1.0, -30.0, 4.0, 0.5, 2.0]), Some((-30.0, 0.5, 4.0)));
    assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
}

#[test]
fn of_an_even_number_the_median_is_between_the_two_in_the_middle() {
    assert_eq!(spread(&[10.0, 1.0, 2.0, 4.0]), Some((1.0, 3.0, 10.0)));
}

#[test]
fn nothing_and_what_is_not_a_number_have_no_spread() {
    assert_eq!(spread(&[]), None);
    assert_eq!(spread(&[1.0, f64::NAN, 2.0]), None);
    assert_eq!(spread(&[1.0, f64::INFINITY]), None);
}

#[test]
fn what_could_not_be_measured_is_not_kept() {
    let mut figures = of(&[("known", 1.0)]);
    figures.one("nothing of nothing", "B", f64::NAN);
    figures.many("never taken", "ms", Vec::new());
    assert_eq!(figures, of(&[("known", 1.0)]));
}

#[test]
fn a_name_that_only_one_run_has_is_said_and_not_made_a_number() {
    let text = of(&[("both", 2.0), ("new", 3.0)]).beside(&of(&[("both", 1.5), ("old", 4.0)]));
    let words: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected: [&[&str]; 3] = [
        &["both", "1.500", "2.000"],
        &["new", "was", "not", "3.000"],
        &["old", "4.000", "is", "not"],
    ];
    assert_eq!(words, expected);
}

#[test]
fn what_is_saved_is_what_is_read() {
    let scratch = Scratch::new("figures");
    let path = scratch.join("saved.json");
    let mut figures = of(&[("query", 12.5)]);
    figures.many_and("load / mode", "times bare", vec![1.0, 1.25, 2.0], Some(("more_ns", -3.5)));
    figures.save(&path).unwrap();
    assert_eq!(Figures::read(&path).unwrap(), figures);

    let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let expected = serde_json::json!({
        "query": { "unit": "ms", "min": 12.5, "median": 12.5, "max": 12.5 },
        "load / mode":
            { "unit": "times bare", "min": 1.0, "median": 1.25, "max": 2.0, "more_ns": -3.5 },
    });
    assert_eq!(json, expected);
}

#[test]
fn the_committed_figures_are_read_without_loss() {
    for name in ["host-cost.json", "footprint.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(name);
        let committed: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let figures = Figures::read(&path).unwrap();
        assert!(!figures.0.is_empty(), "{name}");
        assert_eq!(figures.json(), committed, "{name}");
    }
}

#[test]
fn a_figure_that_is_not_one_is_refused_with_file_and_name() {
    let scratch = Scratch::new("no-figures");
    let path = scratch.join("broken.json");
    for (content, what) in [
        (r#"{"a": {"min": 1, "max": 2}}"#, "a: no median"),
        (r#"{"a": {"min": 1, "median": null, "max": 2}}"#, "a: median: not a number: null"),
        (r#"{"a": 3}"#, "a: not an object"),
        (r#"{"a": {"unit": 1, "min": 1, "median": 1, "max": 2}}"#, "a: unit: not text: 1"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = Figures::read(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {what}", path.display()));
    }
    let missing = scratch.join("missing.json");
    let error = Figures::read(&missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with(&missing.display().to_string()), "{error}");
}

#[test]
fn figures_are_saved_although_the_earlier_file_cannot_be_read() {
    let scratch = Scratch::new("keep-figures");
    let (save, missing) = (scratch.join("saved.json"), scratch.join("missing.json"));
    let keep = Keep { save: Some(save.clone()), compare: Some(missing) };
    let figures = of(&[("query", 1.0)]);
    assert_eq!(keep.keep(&figures).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Figures::read(&save).unwrap(), figures);
}
