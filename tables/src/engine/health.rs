//! `ebpf_events_health` and `ebpf_events_statistics`: what the sources say of themselves beside
//! what became of the events they delivered.

use osquery_ebpf_probes::event::EventKind;

use super::EventTables;
use crate::process::CacheCounts;
use crate::record::Record;
use crate::rows::Value;
use crate::state::{Flow, State};
use crate::statistics::{WINDOW_SECONDS, What};
use crate::status::KindStatus;
use crate::store::{Counts, Store};

/// What became of every event, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounting {
    /// By kind, in the order of [`EventKind::ALL`].
    pub kinds: Vec<KindAccounting>,
    /// Processes in the cache: living, ended.
    pub processes: (usize, usize),
    /// Bytes of the cache.
    pub processes_bytes: usize,
    /// What the cache has done.
    pub cache: CacheCounts,
    /// Processes that were not read from `/proc`.
    pub processes_unread: u64,
}

/// What became of the events of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindAccounting {
    /// Which kind.
    pub kind: EventKind,
    /// Before the store.
    pub flow: Flow,
    /// Waiting.
    pub pending: u64,
    /// In the store.
    pub counts: Counts,
    /// The store this kind is kept in.
    pub store: StoreAccounting,
    /// Early answers dropped, for sockets.
    pub early_dropped: u64,
    /// Events that stopped waiting without what they waited for.
    pub given_up: u64,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreAccounting {
    pub held_bytes: usize,
    pub pinned_bytes: usize,
    pub time_range: Option<(i64, i64)>,
    pub cursors: usize,
    pub cursors_forgotten: u64,
}

impl KindAccounting {
    /// Whether every event that was delivered is accounted for.
    pub const fn is_balanced(&self) -> bool {
        let Flow { delivered, excluded, unselected, unwatched, folded, .. } = self.flow;
        let before = excluded + unselected + unwatched + folded;
        let Counts { stored, evicted, expired, .. } = self.counts;
        delivered == before + self.pending + stored
            && stored == self.counts.held() + evicted + expired
    }
}

fn store<R: Record>(store: &Store<R>) -> StoreAccounting {
    StoreAccounting {
        held_bytes: store.held_bytes(),
        pinned_bytes: store.pinned_bytes(),
        time_range: store.time_range(),
        cursors: store.cursors().len(),
        cursors_forgotten: store.cursors().forgotten(),
    }
}

fn kind(state: &State, kind: EventKind) -> KindAccounting {
    let (counts, store) = match kind {
        EventKind::Exec | EventKind::Fork | EventKind::Setid | EventKind::Namespace => {
            (state.processes.counts(kind), store(&state.processes))
        }
        EventKind::Exit => (state.exits.counts(kind), store(&state.exits)),
        EventKind::Socket => (state.sockets.counts(kind), store(&state.sockets)),
        EventKind::File => (state.files.counts(kind), store(&state.files)),
    };
    let (unanswered, early_dropped) = state.connects.losses();
    let (given_up, early_dropped) = match kind {
        EventKind::Socket => (unanswered, early_dropped),
        EventKind::File => (state.waiting.hurried(), 0),
        _ => (0, 0),
    };
    let pending = u64::try_from(state.waiting_of(kind)).unwrap_or(u64::MAX);
    KindAccounting { kind, flow: state.flow(kind), pending, counts, store, early_dropped, given_up }
}

impl EventTables {
    /// What became of every event so far.
    pub fn accounting(&self) -> Accounting {
        let state = self.state.lock();
        Accounting {
            kinds: EventKind::ALL.iter().map(|&each| kind(&state, each)).collect(),
            processes: state.cache.len(),
            processes_bytes: state.cache.bytes(),
            cache: state.cache.counts(),
            processes_unread: state.reads.skipped(),
        }
    }

    pub(super) fn health_rows(&self) -> Vec<Vec<Value>> {
        // Asked before the lock is taken: the provider has locks of its own.
        let provider = self.status.read().clone();
        let statuses = provider.map(|provider| provider.status()).unwrap_or_default();
        let accounting = self.accounting();
        let row = |each: &KindAccounting| {
            let status = statuses.iter().find(|status| status.health.kind == each.kind);
            self.health_row(each, status, &accounting)
        };
        accounting.kinds.iter().map(row).collect()
    }

    fn health_row(
        &self,
        each: &KindAccounting,
        status: Option<&KindStatus>,
        all: &Accounting,
    ) -> Vec<Value> {
        let health = status.map(|status| &status.health);
        let source = status.and_then(|status| status.source);
        let reason = |status: &KindStatus| {
            let both = [status.reason.as_str(), status.health.reason.as_str()];
            let said: Vec<&str> = both.into_iter().filter(|text| !text.is_empty()).collect();
            said.join("; ")
        };
        let since = status.and_then(|status| status.since).map(|since| since.elapsed().as_secs());
        let (store, flow, counts) = (&each.store, &each.flow, &each.counts);
        let evicted = all.cache.evicted_exited.saturating_add(all.cache.evicted_live);
        vec![
            Value::text(each.kind.as_str()),
            source.map_or(Value::Unknown, |source| Value::text(source.as_str())),
            health.map_or(Value::Unknown, |health| Value::text(health.tier)),
            status.map_or(Value::Unknown, |status| Value::text(reason(status))),
            Value::maybe(health.map(|health| health.probes_attached)),
            Value::maybe(health.map(|health| health.probes_failed)),
            Value::text(self.host.kernel.clone()),
            Value::text(self.host.btf.clone()),
            Value::maybe(health.and_then(|health| health.ring_bytes)),
            Value::maybe(health.and_then(|health| health.produced)),
            Value::maybe(health.map(|health| health.received)),
            Value::maybe(health.map(|health| health.lost_ring)),
            Value::maybe(health.map(|health| health.lost_missed)),
            Value::maybe(health.map(|health| health.malformed)),
            Value::maybe(health.map(|health| health.filtered_kernel)),
            Value::count(flow.excluded),
            Value::count(flow.truncated),
            Value::count(counts.stored),
            Value::count(counts.evicted),
            Value::count(counts.expired),
            Value::count(counts.held()),
            Value::count(store.held_bytes),
            Value::maybe(store.time_range.map(|(oldest, _)| oldest)),
            Value::maybe(store.time_range.map(|(_, newest)| newest)),
            Value::maybe(flow.lag_ns.map(|lag| lag / 1_000_000)),
            Value::maybe(since),
            health.map_or(Value::Unknown, |health| Value::text(health.last_error.clone())),
            Value::count(flow.delivered),
            Value::count(flow.unselected),
            Value::count(flow.unwatched),
            Value::count(flow.folded),
            Value::count(each.pending),
            Value::count(counts.unread),
            Value::count(store.pinned_bytes),
            Value::count(store.cursors),
            Value::count(store.cursors_forgotten),
            Value::count(each.early_dropped),
            Value::count(each.given_up),
            Value::count(all.processes.0),
            Value::count(all.processes.1),
            Value::count(all.processes_bytes),
            Value::count(evicted),
            Value::count(all.processes_unread),
        ]
    }

    pub(super) fn statistics_rows(&self) -> Vec<Vec<Value>> {
        let now_ns = self.time.now_ns();
        let top = {
            let state = self.state.lock();
            What::ALL.map(|what| (what, state.statistics.top(what, now_ns)))
        };
        let mut rows = Vec::new();
        for (what, counted) in top {
            for each in counted {
                let mut name = String::new();
                crate::text::push_bytes(&mut name, &each.name);
                rows.push(vec![
                    Value::text(what.as_str()),
                    Value::Text(name),
                    Value::count(each.count),
                    Value::count(each.error),
                    Value::count(WINDOW_SECONDS),
                ]);
            }
        }
        rows
    }
}
