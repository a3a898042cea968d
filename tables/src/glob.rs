//! Path patterns with osquery's wildcards.
//!
//! `%` and `*` are the same: any bytes but `/`, within one level. `%%` and `**` match any number of
//! levels, one at least. `?`, brackets and braces have no special meaning, though osquery's use of
//! `glob(3)` gives them one in the middle of some patterns: a path may contain them.

#[cfg(test)]
mod tests;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<[u8]>),
    /// Literals with any bytes between them.
    Wild(Vec<Box<[u8]>>),
    /// One level or more.
    Levels,
}

impl Pattern {
    /// Reads an absolute pattern. Repeated slashes count as one, and one at the end as none.
    /// `None`: it is not absolute.
    pub fn parse(pattern: &str) -> Option<Self> {
        let pattern = pattern.replace('*', "%");
        let mut parts = Vec::new();
        for part in pattern.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()) {
            match part.split_once("%%") {
                None => parts.push(Part::new(part)),
                Some(("", _)) => parts.push(Part::Levels),
                Some((before, _)) => {
                    // "/a/b%%": whatever is named so, and all below.
                    parts.push(Part::new(&format!("{before}%")));
                    let below = Part::Levels;
                    parts.push(below);
                }
            }
        }
        Some(Self { parts })
    }

    /// Whether the whole path matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        path.first() == Some(&b'/') && matches(&self.parts, &mut levels(path))
    }

    /// Whether the last part is free of wildcards.
    pub fn ends_literal(&self) -> bool {
        matches!(self.parts.last(), Some(Part::Literal(_)) | None)
    }

    /// The parts before the first wildcard as a path, and how many levels follow; `None`: any
    /// number.
    pub fn root(&self) -> (Vec<u8>, Option<u32>) {
        let mut path = Vec::new();
        let mut parts = self.parts.iter().peekable();
        while let Some(Part::Literal(name)) = parts.peek() {
            path.push(b'/');
            path.extend_from_slice(name);
            parts.next();
        }
        if path.is_empty() {
            path.push(b'/');
        }
        let mut depth = Some(0_u32);
        for part in parts {
            depth = if *part == Part::Levels { None } else { depth.map(|n| n.saturating_add(1)) };
            if depth.is_none() {
                break;
            }
        }
        (path, depth)
    }

    /// The same pattern below another root, if it has this many parts before its first wildcard.
    pub fn rebased(&self, root: &[u8]) -> Self {
        let wild = self.parts.iter().position(|part| !matches!(part, Part::Literal(_)));
        let tail = self.parts.get(wild.unwrap_or(self.parts.len())..).unwrap_or_default();
        let head = levels(root).map(|name| Part::Literal(name.into()));
        Self { parts: head.chain(tail.iter().cloned()).collect() }
    }

    /// The pattern up to its first `%%`, that one included. osquery watches everything below the
    /// directory before it, whatever follows.
    #[must_use]
    pub fn recursive_at_end(mut self) -> Self {
        if let Some(at) = self.parts.iter().position(|part| *part == Part::Levels) {
            self.parts.truncate(at.saturating_add(1));
        }
        self
    }

    /// The pattern of all entries of a directory that this pattern names.
    #[must_use]
    pub fn children(mut self) -> Self {
        self.parts.push(Part::new("%"));
        self
    }
}

impl Part {
    fn new(text: &str) -> Self {
        if text.contains('%') {
            Self::Wild(text.split('%').map(|piece| piece.as_bytes().into()).collect())
        } else {
            Self::Literal(text.as_bytes().into())
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => **literal == *name,
            Self::Wild(pieces) => wild(pieces, name),
            Self::Levels => true,
        }
    }
}

fn wild(pieces: &[Box<[u8]>], name: &[u8]) -> bool {
    let Some((first, rest)) = pieces.split_first() else { return name.is_empty() };
    let Some(mut name) = name.strip_prefix(&**first) else { return false };
    let Some((last, middle)) = rest.split_last() else { return name.is_empty() };
    for piece in middle.iter().filter(|piece| !piece.is_empty()) {
        let at = name.windows(piece.len()).position(|window| window == &**piece);
        let Some(after) = at.and_then(|at| name.get(at.saturating_add(piece.len())..)) else {
            return false;
        };
        name = after;
    }
    name.ends_with(last)
}

/// The names a path consists of.
pub fn levels(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

fn matches<'a>(parts: &[Part], names: &mut (impl Iterator<Item = &'a [u8]> + Clone)) -> bool {
    let Some((part, rest)) = parts.split_first() else { return names.next().is_none() };
    let Some(name) = names.next() else { return false };
    if *part == Part::Levels {
        if rest.is_empty() {
            return true;
        }
        // One level is taken; then any number more.
        loop {
            if matches(rest, &mut names.clone()) {
                return true;
            }
            if names.next().is_none() {
                return false;
            }
        }
    }
    part.matches(name) && matches(rest, names)
}
