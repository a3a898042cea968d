//! One audit record: its stamp, its fields and the encodings of their values.
//!
//! Owns the text format of `audit_log_start`, `audit_log_n_untrustedstring` and `audit_log_key` in
//! `kernel/audit.c`: what a process could have chosen comes either in double quotes or, where it
//! holds a quote, a space or a control character, in hexadecimal. What a daemon appends to a record
//! behind a group separator (its enriched format) says nothing new and is cut off.

/// Record types (`include/uapi/linux/audit.h`), those that are looked into.
pub mod kind {
    #![expect(missing_docs, reason = "the kernel's names say all there is to say")]
    pub const REPLACE: u16 = 1329;
    pub const SYSCALL: u16 = 1300;
    pub const PATH: u16 = 1302;
    pub const SOCKETCALL: u16 = 1304;
    pub const CONFIG_CHANGE: u16 = 1305;
    pub const SOCKADDR: u16 = 1306;
    pub const CWD: u16 = 1307;
    pub const EXECVE: u16 = 1309;
    pub const EOE: u16 = 1320;
    pub const PROCTITLE: u16 = 1327;
    pub const URINGOP: u16 = 1336;
    pub const OPENAT2: u16 = 1337;
}

/// Between a record and what a daemon appended to it.
const ENRICHED: u8 = 0x1d;

/// Which event a record belongs to: records of one event share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Counts events since boot, and wraps.
    pub serial: u32,
    /// When the system call was entered, Unix milliseconds, as of the last clock tick before it.
    pub time_ms: u64,
}

/// A record that does not follow the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Malformed {
    #[error("no audit(seconds.milliseconds:serial) in front")]
    Stamp,
    #[error("no field {0}, or not in its format")]
    Field(&'static str),
}

/// Separates the stamp from the fields.
///
/// # Errors
/// [`Malformed::Stamp`].
pub fn split(payload: &[u8]) -> Result<(Stamp, &[u8]), Malformed> {
    stamp_and_rest(payload).ok_or(Malformed::Stamp)
}

fn stamp_and_rest(payload: &[u8]) -> Option<(Stamp, &[u8])> {
    let text = payload.strip_prefix(b"audit(")?;
    let (seconds, text) = cut(text, b'.')?;
    let (millis, text) = cut(text, b':')?;
    let (serial, text) = cut(text, b')')?;
    let text = text.strip_prefix(b":").unwrap_or(text);
    let millis = number(millis, 10).filter(|&millis| millis < 1000)?;
    let time_ms = number(seconds, 10)?.checked_mul(1000)?.checked_add(millis)?;
    let serial = u32::try_from(number(serial, 10)?).ok()?;
    let end = text.iter().position(|&byte| byte == ENRICHED || byte == 0);
    let text = end.and_then(|end| text.get(..end)).unwrap_or(text);
    Some((Stamp { serial, time_ms }, text.trim_ascii()))
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|&byte| byte == at)?;
    let (before, rest) = text.split_at_checked(position)?;
    Some((before, rest.get(1..)?))
}

/// The fields of a record in order: names and undecoded values.
#[derive(Debug, Clone)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let text = self.0.trim_ascii_start();
            let end = text.iter().position(|&byte| byte == b'=' || byte == b' ');
            let Some((name, rest)) = end.and_then(|end| text.split_at_checked(end)) else {
                self.0 = &[];
                return None;
            };
            let Some(value) = rest.strip_prefix(b"=") else {
                // A word that is no field, such as the time zone of a user message.
                self.0 = rest;
                continue;
            };
            let end = match value.first() {
                Some(&quote @ (b'"' | b'\'')) => {
                    let closing = value.iter().skip(1).position(|&byte| byte == quote);
                    closing.map(|closing| closing.saturating_add(2))
                }
                _ => value.iter().position(|&byte| byte == b' '),
            };
            let (value, rest) =
                end.and_then(|end| value.split_at_checked(end)).unwrap_or((value, &[]));
            self.0 = rest;
            return Some((name, value));
        }
    }
}

/// The first field of that name.
pub fn field<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    Fields(text).find_map(|(found, value)| (found == name).then_some(value))
}

/// A number without a sign.
pub fn number(text: &[u8], radix: u32) -> Option<u64> {
    // `from_str_radix` would take a sign.
    let digits = text.first()?.is_ascii_alphanumeric().then_some(text)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// A number with or without a sign.
pub fn signed(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A string a process could have chosen. `None`: `(null)`, `(none)`, or not in the format.
pub fn untrusted(value: &[u8]) -> Option<Vec<u8>> {
    if let Some(quoted) = value.strip_prefix(b"\"") {
        return Some(quoted.strip_suffix(b"\"").unwrap_or(quoted).to_vec());
    }
    if value.is_empty() {
        return None;
    }
    hex(value)
}

/// Hexadecimal digits as bytes.
pub fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let byte = |pair: &[u8]| {
        let mut value = 0_u8;
        for &digit in pair {
            let digit = char::from(digit).to_digit(16)?;
            value = value.wrapping_shl(4) | u8::try_from(digit).ok()?;
        }
        Some(value)
    };
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests;
