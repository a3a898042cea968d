//! What the audit source counts, and how that is told by kind.
//!
//! What is lost in a queue that all kinds share is of no known kind. It is counted in each kind's
//! `lost_ring`, which so says how many events of that kind are missing at most; where only one kind
//! is asked for, exactly.

use crate::connector;
use crate::event::EventKind;
use crate::source::KindHealth;

use super::assemble;
use super::hold::Refused;
use super::merge;
use super::stream::Way;

const KINDS: usize = EventKind::ALL.len();

/// The counts, shared by the thread and whoever asks.
#[derive(Debug)]
pub struct State {
    /// Events given to the sink.
    pub given: [u64; KINDS],
    /// Rules in place.
    pub rules: [u32; KINDS],
    /// Events lost whose kind is known.
    pub lost: [u64; KINDS],
    /// Events lost of which only unclear records came.
    pub lost_unknown: u64,
    /// What became of records.
    pub stream: assemble::Counts,
    /// What became of execs.
    pub merge: merge::Counts,
    /// Records the kernel lost since we started.
    pub kernel_lost: u64,
    /// Times a socket had no room.
    pub overruns: u64,
    /// Datagrams that made no sense.
    pub malformed_datagrams: u64,
    /// File events of which no path could be told.
    pub unplaced: u64,
    /// Files of which it could not be told whether they were written.
    pub writes_unknown: u64,
    /// What the connector's reader counted; `None`: there is none.
    pub connector: Option<connector::Counts>,
    /// The way records come now.
    pub way: Way,
    /// Rules the kernel refused.
    pub refused: Vec<Refused>,
    /// Why not everything is recorded, by kind.
    pub reasons: [String; KINDS],
    /// The last thing that went wrong.
    pub last_error: String,
    /// Why it stopped by itself.
    pub failure: Option<String>,
    /// Size of the socket's queue.
    pub buffer_bytes: u64,
}

impl State {
    /// Nothing counted yet.
    pub fn new(way: Way, buffer_bytes: u64) -> Self {
        Self {
            given: [0; KINDS],
            rules: [0; KINDS],
            lost: [0; KINDS],
            lost_unknown: 0,
            stream: assemble::Counts::default(),
            merge: merge::Counts::default(),
            kernel_lost: 0,
            overruns: 0,
            malformed_datagrams: 0,
            unplaced: 0,
            writes_unknown: 0,
            connector: None,
            way,
            refused: Vec::new(),
            reasons: std::array::from_fn(|_| String::new()),
            last_error: String::new(),
            failure: None,
            buffer_bytes,
        }
    }

    /// An event was given to the sink.
    pub fn give(&mut self, kind: EventKind) {
        add(&mut self.given, kind);
    }

    /// An event was lost.
    pub fn lose(&mut self, kind: Option<EventKind>) {
        match kind {
            Some(kind) => add(&mut self.lost, kind),
            None => self.lost_unknown = self.lost_unknown.saturating_add(1),
        }
    }

    /// Events of any kind that are missing, at most. Where the kernel has no room for a record it
    /// counts that record; if it is the first of an event, no other of that event comes. So of the
    /// records it counted, those that are seen to be missing from events are no further events.
    ///
    /// An incomplete event may also lack a record that nothing announces: an exec that changes
    /// capabilities has one of them (`BPRM_FCAPS`). So this is too much by at most that, never too
    /// little.
    fn lost_of_any_kind(&self) -> u64 {
        let headless = self.stream.headless;
        let elsewhere = self.stream.records_missing.saturating_add(headless);
        let by_kernel = if self.overruns == 0 {
            self.kernel_lost.saturating_sub(elsewhere)
        } else {
            // Then records are missing that the kernel did not count.
            self.kernel_lost
        };
        self.stream.gaps.saturating_add(by_kernel).saturating_add(self.lost_unknown)
    }

    /// What is missing of a kind that audit lost so many of: where the connector tells of it too,
    /// only what both lost.
    fn lost_by_all(&self, kind: EventKind, lost: u64) -> u64 {
        match &self.connector {
            Some(connector) if kind == EventKind::Exec => {
                lost.saturating_sub(self.merge.connector_only).min(connector.lost)
            }
            _ => lost,
        }
    }

    /// One kind's health.
    pub fn health(&self, kind: EventKind) -> KindHealth {
        if matches!(kind, EventKind::Fork | EventKind::Exit) {
            return self.of_connector(kind);
        }
        let mut health = KindHealth::new(kind, self.way.as_str());
        let index = kind.index();
        let of = |counts: &[u64; KINDS]| counts.get(index).copied().unwrap_or(0);
        health.reason = self.reasons.get(index).cloned().unwrap_or_default();
        health.probes_attached = self.rules.get(index).copied().unwrap_or(0);
        let refused: Vec<&Refused> = self.refused.iter().filter(|rule| rule.kind == kind).collect();
        health.probes_failed = u32::try_from(refused.len()).unwrap_or(u32::MAX);
        health.ring_bytes = Some(self.buffer_bytes);
        health.malformed = self.stream.malformed.saturating_add(self.malformed_datagrams);
        health.received = of(&self.given).saturating_add(health.malformed);
        let lost = of(&self.lost).saturating_add(self.lost_of_any_kind());
        health.lost_ring = self.lost_by_all(kind, lost);
        if kind == EventKind::File {
            health.lost_missed = self.unplaced.saturating_add(self.writes_unknown);
        }
        health.last_error = self.words(&refused);
        health
    }

    fn of_connector(&self, kind: EventKind) -> KindHealth {
        let mut health = KindHealth::new(kind, "connector");
        health.reason = "audit cannot tell forks and exits; the process connector does".to_owned();
        let counts = self.connector.unwrap_or_default();
        health.probes_attached = u32::from(self.connector.is_some());
        health.ring_bytes = Some(self.buffer_bytes);
        health.malformed = counts.malformed;
        let given = self.given.get(kind.index()).copied().unwrap_or(0);
        health.received = given.saturating_add(counts.malformed);
        health.lost_ring = counts.lost;
        health
    }

    fn words(&self, refused: &[&Refused]) -> String {
        let stream = &self.stream;
        let counted = [
            (self.kernel_lost, "records lost in the kernel"),
            (self.overruns, "overruns of our socket"),
            (stream.gaps, "events of which nothing came"),
            (stream.headless, "events without their first record"),
            (stream.incomplete, "incomplete events"),
            (stream.records_missing, "records missing from them"),
            (stream.evicted, "events given up for want of room"),
        ];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let counted: Vec<String> = counted.map(|(count, what)| format!("{count} {what}")).collect();
        let refused = refused.last().map(|refused| refused.why.clone());
        let failure = self.failure.clone();
        let last = (!self.last_error.is_empty()).then(|| self.last_error.clone());
        let counted = (!counted.is_empty()).then(|| counted.join(", "));
        [failure, refused, last, counted].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn add(counts: &mut [u64; KINDS], kind: EventKind) {
    if let Some(count) = counts.get_mut(kind.index()) {
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
