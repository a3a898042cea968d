//! Renames that come in two halves, as kernels before 5.17 report them, and which belong together.
//!
//! Nothing in them says so. The kernel reports the second right after the first, but two threads of
//! one process may do that at once. So halves are paired by process while it has one rename going
//! on, and otherwise told each for itself: half a row is true, a wrong pair is not.

#[cfg(test)]
mod tests;

/// Renames going on at once; of more, the oldest is given up.
const OPEN_MAX: usize = 64;

#[derive(Debug)]
struct Open<T> {
    who: (u32, bool),
    first: Option<T>,
    /// First halves without a second one so far.
    outstanding: u32,
    waited: bool,
}

/// The first halves that wait for their second.
#[derive(Debug)]
pub struct Halves<T> {
    open: Vec<Open<T>>,
}

impl<T> Default for Halves<T> {
    fn default() -> Self {
        Self { open: Vec::new() }
    }
}

impl<T> Halves<T> {
    /// A first half, by a process, of a directory or not. Gives those that are to be told alone.
    pub fn first(&mut self, who: (u32, bool), half: T) -> Vec<T> {
        if let Some(open) = self.open.iter_mut().find(|open| open.who == who) {
            open.outstanding += 1;
            open.waited = false;
            return open.first.take().into_iter().chain([half]).collect();
        }
        let oldest = (self.open.len() >= OPEN_MAX).then(|| self.open.remove(0));
        self.open.push(Open { who, first: Some(half), outstanding: 1, waited: false });
        oldest.and_then(|open| open.first).into_iter().collect()
    }

    /// A second half: gives its first, if that is certain.
    pub fn second(&mut self, who: (u32, bool)) -> Option<T> {
        let at = self.open.iter().position(|open| open.who == who)?;
        let open = self.open.get_mut(at)?;
        open.outstanding -= 1;
        let first = open.first.take();
        if open.outstanding == 0 {
            self.open.remove(at);
        }
        first
    }

    /// Gives up what has waited since the last time, or all.
    pub fn give_up(&mut self, all: bool) -> Vec<T> {
        let done = |open: &mut Open<T>| all || std::mem::replace(&mut open.waited, true);
        self.open.extract_if(.., done).filter_map(|open| open.first).collect()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
