use super::*;

/// The most that a digit or a point takes at the picture's size of 12, in any usual sans-serif font.
const DIGIT: f64 = 8.0;

#[test]
fn large_numbers_have_no_decimals_and_small_ones_one() {
    assert_eq!(label(155_819.0), "155819");
    assert_eq!(label(1000.0), "1000");
    assert_eq!(label(1234.56), "1235");
    assert_eq!(label(999.94), "999.9");
    assert_eq!(label(53.42), "53.4");
    assert_eq!(label(0.0), "0.0");
}

#[test]
fn a_label_of_millions_fits_left_of_the_axis() {
    for most in [9_999_999.0, 155_819.0, 999.9] {
        let width = label(most).len() as f64 * DIGIT;
        assert!(width <= LEFT - GAP, "{}: {width}", label(most));
    }
}

#[test]
fn the_top_of_each_axis_is_in_the_picture_and_each_curve_within_its_axes() {
    let sample = |seconds, held| Sample { seconds, resident: 53.42, cpu_percent: 17.4, held };
    let samples = Samples { samples: vec![sample(1.0, 0.0), sample(2.0, 155_819.0)], lost: 0.0 };
    let plot = samples.plot();
    for label in ["53.4", "17.4", "155819"] {
        assert!(plot.contains(&format!("text-anchor=\"end\">{label}</text>")), "{label}: {plot}");
    }
    // Half way and at the end, the least at the bottom and the most at the top.
    assert!(plot.contains("points=\"436.0,490.0 796.0,370.0\""), "{plot}");
    assert!(plot.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"816\""), "{plot}");
}
