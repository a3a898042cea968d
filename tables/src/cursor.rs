//! How far each scheduled query has come in one store.
//!
//! A query's window of sequence numbers is fixed by the first scan of an execution and is the same
//! for every scan of that execution, however a join interleaves them; the next execution's window
//! starts where it ended. What arrives meanwhile belongs to the next execution. The set of cursors
//! is bounded: the one unused for longest makes room, and that is counted.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// Cursors of one store. osquery's schedules have tens of queries, few of them on one table.
pub const MAX_CURSORS: usize = 128;

/// How long a query that has run once is waited for: osquery's longest usual interval.
const FIRST_PATIENCE: Duration = Duration::from_secs(86_400);

/// What is added to twice a query's own interval before it is taken to have left the schedule.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which of the tables on top of one store a cursor belongs to.
pub type View = u8;

/// Sequence numbers `from..to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: u64,
    pub to: u64,
}

#[derive(Debug)]
struct Cursor {
    view: View,
    name: String,
    execution: String,
    window: Window,
    began_ns: u64,
    active_until_ns: u64,
    used: u64,
}

/// The cursors of one store.
#[derive(Debug, Default)]
pub struct Cursors {
    all: Vec<Cursor>,
    uses: u64,
    forgotten: u64,
}

impl Cursors {
    /// The window of this execution of this query. `oldest` and `next` are the store's first held
    /// and next free number.
    pub fn window(
        &mut self,
        (view, name, execution): (View, &str, &str),
        (oldest, next): (u64, u64),
        now_ns: u64,
    ) -> Window {
        self.uses = self.uses.saturating_add(1);
        let uses = self.uses;
        let found = self.all.iter_mut().find(|held| held.view == view && held.name == name);
        if let Some(cursor) = found {
            cursor.used = uses;
            if cursor.execution != execution {
                cursor.window = Window { from: cursor.window.to, to: next };
                execution.clone_into(&mut cursor.execution);
                let interval = now_ns.saturating_sub(cursor.began_ns);
                cursor.began_ns = now_ns;
                cursor.active_until_ns = now_ns
                    .saturating_add(interval.saturating_mul(2))
                    .saturating_add(nanoseconds(PATIENCE));
            }
            return cursor.window;
        }
        if self.all.len() >= MAX_CURSORS {
            let idle = self.all.iter().enumerate().min_by_key(|(_, cursor)| cursor.used);
            if let Some(index) = idle.map(|(index, _)| index) {
                self.all.swap_remove(index);
                self.forgotten = self.forgotten.saturating_add(1);
            }
        }
        let window = Window { from: oldest, to: next };
        self.all.push(Cursor {
            view,
            name: name.to_owned(),
            execution: execution.to_owned(),
            window,
            began_ns: now_ns,
            active_until_ns: now_ns.saturating_add(nanoseconds(FIRST_PATIENCE)),
            used: uses,
        });
        window
    }

    /// The first number that some query still in the schedule has not had.
    pub fn unread_from(&self, now_ns: u64) -> Option<u64> {
        let active = self.all.iter().filter(|cursor| cursor.active_until_ns >= now_ns);
        active.map(|cursor| cursor.window.to).min()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Cursors given up for want of room: their queries start over with all that is held.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
