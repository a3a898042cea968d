//! Paths as bytes: joining, nesting, depth. Nothing here asks the file system.

/// `name` below `dir`; `.` is `dir` itself.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if name != b"." {
        if !dir.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

/// What [`below`] returned, below another directory.
pub fn join_rest(dir: &[u8], rest: &[u8]) -> Vec<u8> {
    if rest.is_empty() { dir.to_vec() } else { join(dir, rest) }
}

/// What of `path` lies below `dir`: empty when they are the same, else without leading slash.
/// `None`: it is not below.
pub fn below<'a>(path: &'a [u8], dir: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(dir)?;
    if rest.is_empty() || dir.ends_with(b"/") {
        return Some(rest);
    }
    rest.strip_prefix(b"/")
}

/// The parts of a path that [`below`] returned.
pub fn parts(rest: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    rest.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
}

/// The directory that holds `path`; `/` holds itself.
pub fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) | None => path.get(..1).unwrap_or(path),
        Some(slash) => path.get(..slash).unwrap_or(path),
    }
}
