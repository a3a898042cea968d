//! SQLite's LIKE and GLOB.
//!
//! LIKE: `%` any run of characters, `_` any one; ASCII letters match in either case
//! (sqlite.org/lang_expr.html). GLOB: `*`, `?` and character sets, case-sensitive.

/// Whether a text is LIKE a pattern.
pub fn like(pattern: &[char], text: &str) -> bool {
    // The place to come back to: just behind the last '%', and one character further each time.
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    let (mut at, mut rest) = (0, text.chars());
    loop {
        let mut ahead = rest.clone();
        match (pattern.get(at), ahead.next()) {
            (Some('%'), _) => {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            (None, None) => return true,
            (Some(&wanted), Some(found))
                if wanted == '_' || wanted.eq_ignore_ascii_case(&found) =>
            {
                at += 1;
                rest = ahead;
                continue;
            }
            _ => {}
        }
        let Some((behind, mut from)) = retry else { return false };
        if from.next().is_none() {
            return false;
        }
        at = behind;
        rest = from.clone();
        retry = Some((behind, from));
    }
}

/// Whether a text matches a GLOB pattern.
pub fn glob(pattern: &[char], text: &str) -> bool {
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    let (mut at, mut rest) = (0, text.chars());
    loop {
        let mut ahead = rest.clone();
        match (pattern.get(at), ahead.next()) {
            (Some('*'), _) => {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            (None, None) => return true,
            (Some('?'), Some(_)) => {
                at += 1;
                rest = ahead;
                continue;
            }
            (Some('['), Some(found)) => {
                if let Some((matched, behind)) = set(pattern, at + 1, found)
                    && matched
                {
                    at = behind;
                    rest = ahead;
                    continue;
                }
            }
            (Some(&wanted), Some(found)) if wanted == found => {
                at += 1;
                rest = ahead;
                continue;
            }
            _ => {}
        }
        let Some((behind, mut from)) = retry else { return false };
        if from.next().is_none() {
            return false;
        }
        at = behind;
        rest = from.clone();
        retry = Some((behind, from));
    }
}

/// Whether a character is in the set that begins at a place, and where the set ends. `None`: it
/// does not end, so it matches nothing.
fn set(pattern: &[char], mut at: usize, found: char) -> Option<(bool, usize)> {
    let inverted = pattern.get(at) == Some(&'^');
    at += usize::from(inverted);
    let mut seen = false;
    // A ']' that comes first stands for itself.
    if pattern.get(at) == Some(&']') {
        seen = found == ']';
        at += 1;
    }
    let mut before: Option<char> = None;
    loop {
        let character = *pattern.get(at)?;
        at += 1;
        match (character, before) {
            (']', _) => return Some((seen != inverted, at)),
            ('-', Some(low)) if !matches!(pattern.get(at), Some(']') | None) => {
                let high = *pattern.get(at)?;
                at += 1;
                seen |= (low..=high).contains(&found);
                before = None;
            }
            (character, _) => {
                seen |= character == found;
                before = Some(character);
            }
        }
    }
}
