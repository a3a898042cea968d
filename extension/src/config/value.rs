//! Values as people write them: sizes, times, yes and no.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: `65536`, `64K`, `16M`, `1G` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// A time: `90` or `90s`, `10m`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(pub Duration);

/// What belongs where something else was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected(pub &'static str);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is expected", self.0)
    }
}

impl std::error::Error for Expected {}

/// A whole number, and the letter after it.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim()))
}

impl FromStr for Size {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("a number of bytes such as 65536, 64K, 16M or 1G");
        let (number, unit) = number_and_unit(text).ok_or(EXPECTED)?;
        let shift = match unit.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            _ => return Err(EXPECTED),
        };
        number.checked_mul(1 << shift).map(Self).ok_or(EXPECTED)
    }
}

impl FromStr for Age {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("a time such as 90, 90s, 10m, 2h or 7d");
        let (number, unit) = number_and_unit(text).ok_or(EXPECTED)?;
        let seconds = match unit {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(EXPECTED),
        };
        let seconds = number.checked_mul(seconds).ok_or(EXPECTED)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// Yes or no.
pub(super) fn yes(text: &str) -> Result<bool, Expected> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Expected("true or false")),
    }
}

/// How many events: at least one.
pub(super) fn count(text: &str) -> Result<usize, Expected> {
    const EXPECTED: Expected = Expected("a whole number from 1 to 100000000");
    let number: usize = text.trim().parse().map_err(|_| EXPECTED)?;
    if (1..=100_000_000).contains(&number) { Ok(number) } else { Err(EXPECTED) }
}

/// The size of a ring: it must fit the kernel's 32 bits and hold at least a page.
pub(super) fn ring(text: &str) -> Result<Size, Expected> {
    const EXPECTED: Expected = Expected("a number of bytes from 4K to 1G, such as 8M");
    let size: Size = text.parse().map_err(|_| EXPECTED)?;
    if (4 << 10..=1 << 30).contains(&size.0) { Ok(size) } else { Err(EXPECTED) }
}

/// The memory of a table: less than 1 MiB would hold hardly a burst.
pub(super) fn memory(text: &str) -> Result<Size, Expected> {
    const EXPECTED: Expected = Expected("a number of bytes from 1M to 64G, such as 16M");
    let size: Size = text.parse().map_err(|_| EXPECTED)?;
    if (1 << 20..=64 << 30).contains(&size.0) { Ok(size) } else { Err(EXPECTED) }
}

/// A time longer than nothing.
pub(super) fn period(text: &str) -> Result<Age, Expected> {
    const EXPECTED: Expected = Expected("a time from 1s on, such as 90, 10m, 2h or 7d");
    let age: Age = text.parse().map_err(|_| EXPECTED)?;
    if age.0.is_zero() { Err(EXPECTED) } else { Ok(age) }
}

/// A time, or for ever.
pub(super) fn age(text: &str) -> Result<Age, Expected> {
    text.parse().map_err(|_| Expected("a time such as 60, 10m or 2h (0: not at all)"))
}

/// One of the kinds that can have rows among process events.
pub(super) fn process_event(text: &str) -> Result<osquery_ebpf_probes::event::EventKind, Expected> {
    use osquery_ebpf_probes::event::EventKind;
    [EventKind::Exec, EventKind::Fork, EventKind::Setid, EventKind::Namespace]
        .into_iter()
        .find(|kind| kind.as_str() == text.trim())
        .ok_or(Expected("a list of exec, fork, setid and namespace"))
}

/// A concern, by its word.
pub(super) fn concern(text: &str) -> Result<osquery_ebpf_probes::event::Concern, Expected> {
    use osquery_ebpf_probes::event::Concern;
    Concern::ALL
        .into_iter()
        .find(|concern| concern.as_str() == text.trim())
        .ok_or(Expected("a list of process, socket and file"))
}

/// The name of an environment variable, perhaps with `*` at its end.
pub(super) fn variable(text: &str) -> Result<String, Expected> {
    let text = text.trim();
    let name = text.strip_suffix('*').unwrap_or(text);
    let plain = !name.contains(['=', '*', '\0']);
    if plain && !text.is_empty() {
        Ok(text.to_owned())
    } else {
        Err(Expected("a list of names of environment variables, such as LD_PRELOAD or SUDO_*"))
    }
}

/// An absolute path, perhaps with `%`.
pub(super) fn pattern(text: &str) -> Result<String, Expected> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(Expected("a list of absolute paths, with % and %% as wildcards"))
    }
}

/// A user id.
pub(super) fn uid(text: &str) -> Result<u32, Expected> {
    text.trim().parse().map_err(|_| Expected("a list of numeric user ids"))
}

/// An address or a network.
pub(super) fn network(text: &str) -> Result<String, Expected> {
    const EXPECTED: Expected = Expected("a list of addresses or networks such as 192.0.2.0/24");
    let text = text.trim();
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let address: std::net::IpAddr = address.parse().map_err(|_| EXPECTED)?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    match bits.map(str::parse::<u8>) {
        None => Ok(text.to_owned()),
        Some(Ok(bits)) if bits <= most => Ok(text.to_owned()),
        Some(_) => Err(EXPECTED),
    }
}
