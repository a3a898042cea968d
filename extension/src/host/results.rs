//! Lines of osqueryd's results log (osquery/core/query.cpp, `serializeQueryLogItemAsEvents`).

use serde_json::Value;

use super::differential::LogRow;

/// What is the same in each line of an execution.
pub(super) struct Item<'a> {
    pub(super) name: &'a str,
    pub(super) host: &'a str,
    pub(super) time: u64,
    pub(super) counter: u64,
}

/// One line: a row that was `added` or `removed`, or is part of a `snapshot`.
pub(super) fn line(item: &Item<'_>, action: &str, row: &LogRow) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let columns: Vec<String> =
        row.iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
    format!(
        concat!(
            r#"{{"name":{},"hostIdentifier":{},"calendarTime":{},"unixTime":{},"epoch":0,"#,
            r#""counter":{},"numerics":false,"columns":{{{}}},"action":{}}}"#
        ),
        text(item.name),
        text(item.host),
        text(&calendar_time(item.time)),
        item.time,
        item.counter,
        columns.join(","),
        text(action),
    )
}

/// A point in time as osquery writes it: `Thu Aug  6 21:46:12 2026 UTC`.
pub(super) fn calendar_time(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970, with years that begin in March so that the leap day is last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let name = |names: &'static [&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or("???")
    };
    format!(
        "{} {} {day:2} {:02}:{:02}:{:02} {year} UTC",
        name(&DAYS, days % 7),
        name(&MONTHS, month),
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}
