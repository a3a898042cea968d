//! How bytes, addresses and modes are written as column text.
//!
//! Owns the formats only. Text in a row is always UTF-8: a byte that is not part of valid UTF-8 is
//! written as `\xHH`, and so is NUL, which C strings on the way to SQLite cannot carry. Other
//! control bytes stay as they are.

use std::fmt::Write as _;
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// How an IPv6 address is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ipv6Format {
    /// RFC 5952: `2001:db8::1`, v4-mapped as `::ffff:192.0.2.1`.
    #[default]
    Rfc5952,
    /// As osquery's `socket_events` writes it: eight groups of four digits, lower case.
    Core,
}

/// Appends bytes under the escape rule above.
pub fn push_bytes(out: &mut String, bytes: &[u8]) {
    // Almost all there is: the standard library checks a word at a time.
    if let Ok(valid) = std::str::from_utf8(bytes) {
        return push_valid(out, valid);
    }
    for chunk in bytes.utf8_chunks() {
        push_valid(out, chunk.valid());
        for byte in chunk.invalid() {
            push_hex_escape(out, *byte);
        }
    }
}

fn push_valid(out: &mut String, mut valid: &str) {
    while let Some((before, after)) = valid.split_once('\0') {
        out.push_str(before);
        out.push_str("\\x00");
        valid = after;
    }
    out.push_str(valid);
}

fn push_hex_escape(out: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\x{byte:02x}");
}

/// The strings of a NUL-separated list, each ended by NUL except perhaps the last.
pub fn strings(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = list.strip_suffix(b"\0").unwrap_or(list);
    let some = !list.is_empty();
    body.split(|&byte| byte == 0).filter(move |_| some)
}

/// Appends a NUL-separated list joined by one space, as `cmdline` and `env` are.
pub fn push_joined(out: &mut String, list: &[u8]) {
    for (index, string) in strings(list).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        push_bytes(out, string);
    }
}

/// Appends a NUL-separated list as a JSON array of strings.
pub fn push_json_list(out: &mut String, list: &[u8]) {
    out.push('[');
    for (index, string) in strings(list).enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_json(out, string);
    }
    out.push(']');
}

/// Appends bytes as a JSON string: first the escape rule of this file, then JSON's (RFC 8259), so
/// that an invalid byte FF reads `"\\xff"`.
pub fn push_json(out: &mut String, bytes: &[u8]) {
    out.push('"');
    push_json_inner(out, bytes);
    out.push('"');
}

/// Appends a NUL-separated list joined by one space as a JSON string.
pub fn push_json_joined(out: &mut String, list: &[u8]) {
    out.push('"');
    for (index, string) in strings(list).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        push_json_inner(out, string);
    }
    out.push('"');
}

fn push_json_inner(out: &mut String, bytes: &[u8]) {
    if let Ok(valid) = std::str::from_utf8(bytes) {
        return push_json_valid(out, valid);
    }
    for chunk in bytes.utf8_chunks() {
        push_json_valid(out, chunk.valid());
        for byte in chunk.invalid() {
            out.push('\\');
            push_hex_escape(out, *byte);
        }
    }
}

/// Copies the stretches between characters that JSON escapes, which are all of one byte.
fn push_json_valid(out: &mut String, mut valid: &str) {
    let escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // Nearly all there is, and looked at as a whole it is looked at many bytes at a time.
    if !valid.bytes().fold(false, |found, byte| found | escaped(byte)) {
        return out.push_str(valid);
    }
    while let Some(at) = valid.bytes().position(escaped) {
        let Some((before, rest)) = valid.split_at_checked(at) else { break };
        let mut characters = rest.chars();
        out.push_str(before);
        match characters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some('\0') => out.push_str("\\\\x00"),
            control => {
                let _ = write!(out, "\\u{:04x}", control.map_or(0, u32::from));
            }
        }
        valid = characters.as_str();
    }
    out.push_str(valid);
}

/// Appends an address. IPv4 is dotted in every format.
pub fn push_address(out: &mut String, address: IpAddr, format: Ipv6Format) {
    match (address, format) {
        (IpAddr::V6(v6), Ipv6Format::Core) => {
            for (index, group) in v6.segments().iter().enumerate() {
                let _ = write!(out, "{}{group:04x}", if index > 0 { ":" } else { "" });
            }
        }
        (address, _) => {
            let _ = write!(out, "{address}");
        }
    }
}

/// Appends the name of a unix socket: a path as it is, an abstract name with `@` for its leading
/// NUL, as `/proc/net/unix` and `ss` write it.
pub fn push_unix(out: &mut String, name: &[u8]) {
    match name.split_first() {
        Some((0, rest)) => {
            out.push('@');
            push_bytes(out, rest);
        }
        _ => push_bytes(out, name),
    }
}

/// Appends a mode as `process_events` writes it: what audit's PATH record has (`%#ho`), so type and
/// permission bits in octal behind a 0, such as `0100755`.
pub fn push_audit_mode(out: &mut String, mode: u32) {
    let _ = write!(out, "0{mode:o}");
}

/// Appends a mode as `file_events` writes it: osquery's `lsperms`, four octal digits of permission
/// bits, such as `0644`.
pub fn push_permissions(out: &mut String, mode: u32) {
    let _ = write!(out, "{:04o}", mode & 0o7777);
}

/// Appends an event id as osquery does: ten digits or more, so that text order is event order.
pub fn push_eid(out: &mut String, seq: u64) {
    let _ = write!(out, "{seq:010}");
}

/// The kernel's name of an errno, such as `ECONNREFUSED`, for those sockets return.
pub const fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EPIPE => "EPIPE",
        libc::ENOTSOCK => "ENOTSOCK",
        libc::EDESTADDRREQ => "EDESTADDRREQ",
        libc::EPROTOTYPE => "EPROTOTYPE",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ENOBUFS => "ENOBUFS",
        libc::EISCONN => "EISCONN",
        libc::ENOTCONN => "ENOTCONN",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTDOWN => "EHOSTDOWN",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EALREADY => "EALREADY",
        libc::EINPROGRESS => "EINPROGRESS",
        // ERESTARTSYS, which tracing sees where the caller sees EINTR (include/linux/errno.h).
        512 => "ERESTARTSYS",
        _ => return None,
    })
}
