use std::collections::{BTreeMap, BTreeSet};

use osquery_ebpf_probes::clock::boot_now_ns;
use osquery_ebpf_probes::event::{Body, Exec, Exit, RawEvent, Task};
use osquery_ebpf_probes::source::{RingBytes, TierWish, WatchNothing};

use super::*;

/// What happens to fake sources.
#[derive(Default)]
struct World {
    broken: Mutex<BTreeSet<&'static str>>,
    failed: Mutex<BTreeSet<&'static str>>,
    stopped: Mutex<Vec<&'static str>>,
    /// What each has received of each kind beside the first ten.
    received: Mutex<u64>,
    /// How many of each run.
    running: Mutex<BTreeMap<&'static str, usize>>,
    /// Those that ended while another one of the kind ran.
    replaced: Mutex<Vec<&'static str>>,
    asked: Mutex<Vec<(&'static str, Vec<EventKind>)>>,
    sinks: Mutex<BTreeMap<&'static str, Arc<dyn Sink>>>,
    /// Given by a source while it is flushed.
    last_words: Mutex<BTreeMap<&'static str, RawEvent>>,
}

impl World {
    fn tell(&self, name: &str, event: RawEvent) {
        let sink = Arc::clone(&self.sinks.lock()[name]);
        sink.accept(&mut vec![event]);
    }
}

struct Fake {
    kind: SourceKind,
    gives: &'static [EventKind],
    world: Arc<World>,
}

impl Source for Fake {
    fn kind(&self) -> SourceKind {
        self.kind
    }

    fn gives(&self, kind: EventKind) -> bool {
        self.gives.contains(&kind)
    }

    fn start(
        self: Box<Self>,
        config: &SourceConfig,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, StartError> {
        let name = self.kind.as_str();
        self.world.sinks.lock().insert(name, sink);
        if self.world.broken.lock().contains(name) {
            return Err(error(self.kind, "the kernel said EPERM"));
        }
        self.world.asked.lock().push((name, config.kinds.clone()));
        let mut running = self.world.running.lock();
        let ours = running.entry(name).or_default();
        *ours += 1;
        assert!(*ours == 1 || !self.kind.is_exclusive(), "two of {name}");
        drop(running);
        Ok(self)
    }
}

impl Running for Fake {
    fn kind(&self) -> SourceKind {
        self.kind
    }

    fn health(&self) -> Vec<KindHealth> {
        let received = 10 + *self.world.received.lock();
        let health = |kind| KindHealth { received, ..KindHealth::new(kind, "fake") };
        self.gives.iter().map(|kind| health(*kind)).collect()
    }

    fn reconfigure(&self, config: &SourceConfig) -> Result<(), StartError> {
        if self.world.broken.lock().contains(self.kind.as_str()) {
            return Err(error(self.kind, "not now"));
        }
        self.world.asked.lock().push((self.kind.as_str(), config.kinds.clone()));
        Ok(())
    }

    fn changes_kinds(&self) -> bool {
        matches!(self.kind, SourceKind::Bpf | SourceKind::Connector)
    }

    fn flush(&self, _deadline: Duration) -> bool {
        if let Some(event) = self.world.last_words.lock().remove(self.kind.as_str()) {
            self.world.tell(self.kind.as_str(), event);
        }
        !self.world.failed.lock().contains(self.kind.as_str())
    }

    fn failure(&self) -> Option<String> {
        self.world.failed.lock().contains(self.kind.as_str()).then(|| "unplugged".to_owned())
    }

    fn stop(&mut self) {
        let name = self.kind.as_str();
        self.world.stopped.lock().push(name);
        let mut running = self.world.running.lock();
        let others = running.entry(name).or_default();
        *others -= 1;
        if *others > 0 {
            self.world.replaced.lock().push(name);
        }
    }
}

fn error(source_kind: SourceKind, why: &str) -> StartError {
    StartError {
        source_kind,
        what: "start".to_owned(),
        why: why.to_owned(),
        remedy: "repair it".to_owned(),
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        batch.clear();
    }
}

const PROCESS: &[EventKind] = &[EventKind::Exec, EventKind::Fork, EventKind::Exit];
const EVERY: &[EventKind] = &EventKind::ALL;

fn plan(world: &Arc<World>, chosen: &str) -> Plan {
    let candidate = |kind, serves, gives| {
        let world = Arc::clone(world);
        Candidate {
            kind,
            serves,
            refused: None,
            make: Arc::new(move || Ok(Box::new(Fake { kind, gives, world: Arc::clone(&world) }))),
        }
    };
    let candidates = vec![
        candidate(SourceKind::Fanotify, &[EventKind::File], &[EventKind::File]),
        candidate(
            SourceKind::Bpf,
            EVERY,
            &[EventKind::Exec, EventKind::Fork, EventKind::Exit, EventKind::Socket],
        ),
        candidate(SourceKind::Audit, EVERY, &[EventKind::Exec, EventKind::Socket]),
        candidate(SourceKind::Connector, PROCESS, PROCESS),
    ];
    Plan { candidates, chosen: chosen.to_owned() }
}

fn config(kinds: &[EventKind]) -> SourceConfig {
    SourceConfig {
        kinds: kinds.to_vec(),
        paths: Arc::new(WatchNothing),
        file_access: false,
        unix_sockets: false,
        datagram_peers: false,
        tier: TierWish::Auto,
        ring_bytes: RingBytes::default(),
        own_pid: 1,
        exclude: Default::default(),
    }
}

const WANTED: [EventKind; 5] =
    [EventKind::Exec, EventKind::Fork, EventKind::Exit, EventKind::Socket, EventKind::File];

fn start(world: &Arc<World>) -> Sources {
    Sources::start(plan(world, ""), config(&WANTED), Arc::new(Nowhere))
}

fn serving(sources: &Sources) -> Vec<(EventKind, Option<SourceKind>)> {
    EventKind::ALL
        .into_iter()
        .zip(sources.status())
        .filter(|(kind, _)| WANTED.contains(kind))
        .map(|(kind, status)| (kind, status.source))
        .collect()
}

#[test]
fn each_kind_is_served_by_the_first_that_gives_it() {
    let world = Arc::default();
    let sources = start(&world);
    assert_eq!(
        serving(&sources),
        [
            (EventKind::Exec, Some(SourceKind::Bpf)),
            (EventKind::Fork, Some(SourceKind::Bpf)),
            (EventKind::Exit, Some(SourceKind::Bpf)),
            (EventKind::Socket, Some(SourceKind::Bpf)),
            (EventKind::File, Some(SourceKind::Fanotify)),
        ]
    );
    assert!(sources.status()[EventKind::Exec.index()].reason.is_empty());
    assert_eq!(sources.status()[EventKind::Setid.index()].reason, "not asked for");
}

#[test]
fn a_source_that_does_not_start_is_replaced_kind_by_kind_with_its_reason() {
    let world = Arc::new(World::default());
    world.broken.lock().insert("bpf");
    let sources = start(&world);
    assert_eq!(
        serving(&sources),
        [
            (EventKind::Exec, Some(SourceKind::Audit)),
            (EventKind::Fork, Some(SourceKind::Connector)),
            (EventKind::Exit, Some(SourceKind::Connector)),
            (EventKind::Socket, Some(SourceKind::Audit)),
            (EventKind::File, Some(SourceKind::Fanotify)),
        ]
    );
    let status = sources.status();
    assert_eq!(
        status[EventKind::Fork.index()].reason,
        "bpf: start: the kernel said EPERM; repair it; audit cannot give them"
    );
}

#[test]
fn what_nothing_serves_is_told() {
    let world = Arc::new(World::default());
    world.broken.lock().extend(["bpf", "audit", "connector"]);
    let sources = start(&world);
    assert!(sources.status()[EventKind::Socket.index()].source.is_none());
    let told: Vec<_> = sources.shortcomings().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "there are no exec events: bpf: start: the kernel said EPERM; repair it; \
             audit: start: the kernel said EPERM; repair it; \
             connector: start: the kernel said EPERM; repair it",
            "there are no fork, exit events: bpf: start: the kernel said EPERM; repair it; \
             audit cannot give them; connector: start: the kernel said EPERM; repair it",
            "there are no socket events: bpf: start: the kernel said EPERM; repair it; \
             audit: start: the kernel said EPERM; repair it",
        ]
    );
}

#[test]
fn a_source_that_fails_later_is_replaced_by_what_stands_below_it() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    world.failed.lock().insert("bpf");
    sources.look_after();
    assert_eq!(*world.stopped.lock(), ["bpf"]);
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Audit));
    assert_eq!(sources.status()[EventKind::Exit.index()].source, Some(SourceKind::Connector));
    assert_eq!(sources.status()[EventKind::Exec.index()].reason, "bpf stopped: unplugged");
    assert_eq!(sources.status()[EventKind::File.index()].source, Some(SourceKind::Fanotify));
}

#[test]
fn what_a_source_counted_outlives_it() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    let received = |sources: &Sources| {
        let status = sources.status();
        [EventKind::Exec, EventKind::File].map(|kind| status[kind.index()].health.received)
    };
    assert_eq!(received(&sources), [10, 10]);
    world.failed.lock().insert("bpf");
    sources.look_after();
    assert_eq!(received(&sources), [20, 10], "ten of BPF's, ten of audit's");
    world.failed.lock().clear();
    sources.restart(plan(&world, ""), config(EVERY));
    assert_eq!(received(&sources), [30, 10], "BPF is back; of files nothing has changed");
    // Nobody serves it: what there was is still told.
    sources.reconfigure(config(&[EventKind::Exec]));
    assert_eq!(received(&sources), [30, 10]);
}

#[test]
fn a_kind_that_is_dropped_and_taken_up_again_counts_on() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    let received = || sources.status()[EventKind::Socket.index()].health.received;
    assert_eq!(received(), 10);
    assert_eq!(sources.reconfigure(config(PROCESS)), []);
    // Which the source does for others; of sockets nothing is taken from it.
    *world.received.lock() += 100;
    assert_eq!(received(), 10);
    assert_eq!(sources.reconfigure(config(&WANTED)), []);
    assert_eq!(received(), 10);
    *world.received.lock() += 1;
    assert_eq!(received(), 11);
}

/// As [`config`], but of rings that processes' sources have to be started over for.
fn other_rings(kinds: &[EventKind]) -> SourceConfig {
    let mut config = config(kinds);
    config.ring_bytes.process *= 2;
    config
}

#[test]
fn a_source_that_has_to_be_started_over_goes_on_until_the_new_one_has_begun() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    let files = sources.status()[EventKind::File.index()].since;
    sources.restart(plan(&world, ""), other_rings(&WANTED));
    assert_eq!(*world.stopped.lock(), ["bpf"], "what reports files is not concerned");
    assert_eq!(*world.replaced.lock(), ["bpf"]);
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Bpf));
    assert_eq!(sources.status()[EventKind::File.index()].since, files);
}

#[test]
fn of_what_there_can_be_only_one_the_old_one_ends_first() {
    let world = Arc::new(World::default());
    world.broken.lock().insert("bpf");
    let sources = start(&world);
    sources.restart(plan(&world, ""), other_rings(&WANTED));
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Audit));
    assert_eq!(*world.stopped.lock(), ["audit", "connector"]);
    assert_eq!(*world.replaced.lock(), ["connector"]);
}

#[test]
fn what_is_not_in_the_plan_any_more_ends_and_what_it_saw_until_then_is_kept() {
    let world = Arc::new(World::default());
    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn Sink> = Arc::<Kept>::clone(&kept);
    let sources = Sources::start(plan(&world, ""), config(&WANTED), sink);
    world.last_words.lock().insert("bpf", exec(SourceKind::Bpf, boot_now_ns()));
    let mut without = plan(&world, "BPF is off, as chosen");
    without.candidates.remove(1);
    sources.restart(without, config(&WANTED));
    assert_eq!(*world.stopped.lock(), ["bpf"]);
    assert_eq!(*kept.0.lock(), [(SourceKind::Bpf, EventKind::Exec)]);
    assert_eq!(
        serving(&sources),
        [
            (EventKind::Exec, Some(SourceKind::Audit)),
            (EventKind::Fork, Some(SourceKind::Connector)),
            (EventKind::Exit, Some(SourceKind::Connector)),
            (EventKind::Socket, Some(SourceKind::Audit)),
            (EventKind::File, Some(SourceKind::Fanotify)),
        ]
    );
    let nothing = Plan { candidates: Vec::new(), chosen: "everything is off".to_owned() };
    sources.restart(nothing, config(&[]));
    assert!(!sources.serve_anything());
}

#[test]
fn what_is_refused_now_does_not_go_on() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    let mut refusing = plan(&world, "");
    refusing.candidates[1].refused = Some(error(SourceKind::Bpf, "this kernel panics"));
    sources.restart(refusing, config(&WANTED));
    assert_eq!(*world.stopped.lock(), ["bpf"]);
    let exec = &sources.status()[EventKind::Exec.index()];
    assert_eq!(exec.source, Some(SourceKind::Audit));
    assert_eq!(exec.reason, "bpf: start: this kernel panics; repair it");
}

#[test]
fn two_that_fail_at_once_are_both_replaced() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    world.failed.lock().extend(["bpf", "fanotify"]);
    world.broken.lock().insert("audit");
    sources.look_after();
    world.failed.lock().clear();
    assert_eq!(world.stopped.lock().len(), 2);
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Connector));
    assert_eq!(sources.status()[EventKind::File.index()].source, None);
}

#[test]
fn what_cannot_be_started_over_is_replaced_from_below_or_goes_on() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    world.broken.lock().insert("bpf");
    sources.restart(plan(&world, ""), other_rings(&WANTED));
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Audit));
    assert_eq!(*world.stopped.lock(), ["bpf"]);

    world.broken.lock().clear();
    let alone = || {
        let mut plan = plan(&world, "");
        plan.candidates.retain(|candidate| candidate.kind == SourceKind::Bpf);
        plan
    };
    sources.restart(alone(), config(PROCESS));
    world.broken.lock().insert("bpf");
    sources.restart(alone(), other_rings(PROCESS));
    let exec = &sources.status()[EventKind::Exec.index()];
    assert_eq!(exec.source, Some(SourceKind::Bpf), "rather than nothing");
    assert_eq!(exec.reason, "bpf: start: the kernel said EPERM; repair it");
}

#[test]
fn a_source_that_runs_already_takes_over_from_one_that_goes() {
    let world = Arc::new(World::default());
    world.broken.lock().insert("bpf");
    let sources = start(&world);
    let mut connector = plan(&world, "");
    connector.candidates.retain(|of| of.kind == SourceKind::Connector);
    sources.restart(connector, config(PROCESS));
    // Files are not wanted any more, which takes no hand-over.
    assert_eq!(*world.stopped.lock(), ["fanotify", "audit"]);
    let exec = &sources.status()[EventKind::Exec.index()];
    assert_eq!(exec.source, Some(SourceKind::Connector));
}

#[test]
fn each_source_is_asked_for_its_own_kinds_only() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    assert_eq!(world.asked.lock()[0], ("fanotify", vec![EventKind::File]));
    assert_eq!(
        world.asked.lock()[1],
        ("bpf", vec![EventKind::Exec, EventKind::Fork, EventKind::Exit, EventKind::Socket])
    );
    world.asked.lock().clear();
    assert_eq!(sources.reconfigure(config(&WANTED)), []);
    assert_eq!(world.asked.lock().len(), 2);
    world.broken.lock().insert("bpf");
    assert_eq!(sources.reconfigure(config(&WANTED)).len(), 1);
}

#[test]
fn kinds_that_come_and_go_disturb_no_source_that_can_change_them() {
    let world = Arc::new(World::default());
    let processes = [EventKind::Exec, EventKind::Fork, EventKind::Exit];
    let sources = Sources::start(plan(&world, ""), config(&processes), Arc::new(Nowhere));
    world.asked.lock().clear();
    assert_eq!(sources.reconfigure(config(&WANTED)), []);
    assert_eq!(world.stopped.lock().len(), 0);
    assert!(world.asked.lock().contains(&("bpf", WANTED[..4].to_vec())));
    assert!(world.asked.lock().contains(&("fanotify", vec![EventKind::File])));
    assert!(serving(&sources).iter().all(|(_, source)| source.is_some()));
    assert_eq!(sources.reconfigure(config(&[EventKind::File])), []);
    assert_eq!(*world.stopped.lock(), ["bpf"]);
    let exec = &sources.status()[EventKind::Exec.index()];
    assert_eq!((exec.source, exec.reason.as_str()), (None, "not asked for"));
    assert_eq!(sources.status()[EventKind::File.index()].source, Some(SourceKind::Fanotify));
    // And back, from the top of the ladder.
    assert_eq!(sources.reconfigure(config(&WANTED)), []);
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Bpf));
    assert_eq!(*world.stopped.lock(), ["bpf"]);
}

#[test]
fn a_source_that_cannot_change_its_kinds_is_started_over_alone() {
    let world = Arc::new(World::default());
    world.broken.lock().insert("bpf");
    let processes = [EventKind::Exec, EventKind::Fork, EventKind::Exit];
    let sources = Sources::start(plan(&world, ""), config(&processes), Arc::new(Nowhere));
    world.asked.lock().clear();
    let with_sockets = [&processes[..], &[EventKind::Socket]].concat();
    assert_eq!(sources.reconfigure(config(&with_sockets)), []);
    assert_eq!(*world.stopped.lock(), ["audit"]);
    let both = vec![EventKind::Exec, EventKind::Socket];
    assert!(world.asked.lock().contains(&("audit", both)));
    assert_eq!(sources.status()[EventKind::Socket.index()].source, Some(SourceKind::Audit));
    assert_eq!(sources.status()[EventKind::Fork.index()].source, Some(SourceKind::Connector));
}

#[test]
fn what_a_running_source_refuses_is_served_below_it_and_what_it_served_goes_on() {
    let world = Arc::new(World::default());
    let processes = [EventKind::Exec, EventKind::Fork, EventKind::Exit];
    let sources = Sources::start(plan(&world, ""), config(&processes), Arc::new(Nowhere));
    world.broken.lock().insert("bpf");
    assert_eq!(sources.reconfigure(config(&WANTED)).len(), 1);
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Bpf));
    let socket = &sources.status()[EventKind::Socket.index()];
    assert_eq!(socket.source, Some(SourceKind::Audit));
    assert_eq!(socket.reason, "bpf: start: not now; repair it");
    assert_eq!(world.stopped.lock().len(), 0);
}

#[test]
fn a_source_that_does_not_come_back_leaves_what_it_served_to_those_below() {
    let world = Arc::new(World::default());
    world.broken.lock().insert("bpf");
    let exec = [EventKind::Exec];
    let sources = Sources::start(plan(&world, ""), config(&exec), Arc::new(Nowhere));
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Audit));
    world.broken.lock().insert("audit");
    let errors = sources.reconfigure(config(&[EventKind::Exec, EventKind::Socket]));
    assert_eq!(errors.len(), 1);
    let status = sources.status();
    assert_eq!(status[EventKind::Exec.index()].source, Some(SourceKind::Connector));
    assert_eq!(status[EventKind::Socket.index()].source, None);
    let reason = &status[EventKind::Exec.index()].reason;
    assert!(reason.contains("audit: start: the kernel said EPERM"), "{reason}");
}

#[test]
fn a_flush_is_complete_only_if_every_source_says_so() {
    let world = Arc::new(World::default());
    let sources = start(&world);
    assert!(sources.flush(Duration::from_secs(1)));
    world.failed.lock().insert("bpf");
    assert!(!sources.flush(Duration::from_secs(1)));
}

#[test]
fn stopping_stops_every_source() {
    let world = Arc::new(World::default());
    drop(start(&world));
    assert_eq!(*world.stopped.lock(), ["fanotify", "bpf"]);
}

#[test]
fn what_was_chosen_is_told_beside_what_was_refused() {
    let world = Arc::new(World::default());
    world.broken.lock().insert("audit");
    let mut plan = plan(&world, "BPF is off, as chosen");
    plan.candidates.remove(1);
    let sources = Sources::start(plan, config(&WANTED), Arc::new(Nowhere));
    let status = sources.status();
    assert_eq!(
        status[EventKind::Exec.index()].reason,
        "BPF is off, as chosen; audit: start: the kernel said EPERM; repair it"
    );
    assert_eq!(
        status[EventKind::Fork.index()].reason,
        "BPF is off, as chosen; audit cannot give them"
    );
    assert_eq!(status[EventKind::File.index()].reason, "");
}

#[test]
fn a_concern_that_does_not_start_with_the_others_starts_alone() {
    /// Takes one concern at a time.
    struct Picky(Fake);

    impl Source for Picky {
        fn kind(&self) -> SourceKind {
            self.0.kind
        }

        fn gives(&self, kind: EventKind) -> bool {
            self.0.gives(kind)
        }

        fn start(
            self: Box<Self>,
            config: &SourceConfig,
            sink: Arc<dyn Sink>,
        ) -> Result<Box<dyn Running>, StartError> {
            if config.wants(Concern::Socket) {
                return Err(error(SourceKind::Bpf, "no sockets"));
            }
            Box::new(self.0).start(config, sink)
        }
    }

    let world = Arc::new(World::default());
    let mut plan = plan(&world, "");
    plan.candidates[1].make = {
        let world = Arc::clone(&world);
        Arc::new(move || {
            let world = Arc::clone(&world);
            Ok(Box::new(Picky(Fake { kind: SourceKind::Bpf, gives: EVERY, world })))
        })
    };
    let sources = Sources::start(plan, config(&WANTED), Arc::new(Nowhere));
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Bpf));
    let socket = &sources.status()[EventKind::Socket.index()];
    assert_eq!(socket.source, Some(SourceKind::Audit));
    assert_eq!(socket.reason, "bpf: start: no sockets; repair it");
}

/// Keeps who told what.
#[derive(Default)]
struct Kept(Mutex<Vec<(SourceKind, EventKind)>>);

impl Sink for Kept {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        self.0.lock().extend(batch.drain(..).map(|event| (event.source, event.kind())));
    }
}

fn event(source: SourceKind, time_ns: u64, body: Body) -> RawEvent {
    RawEvent { time_ns, source, task: Task::default(), body }
}

fn exec(source: SourceKind, time_ns: u64) -> RawEvent {
    event(source, time_ns, Body::Exec(Box::<Exec>::default()))
}

#[test]
fn what_has_been_repaired_takes_its_place_again_and_no_event_is_lost_or_told_twice() {
    let world = Arc::new(World::default());
    let kept = Arc::new(Kept::default());
    world.broken.lock().insert("bpf");
    let sink: Arc<dyn Sink> = Arc::<Kept>::clone(&kept);
    let sources = Sources::start(plan(&world, ""), config(&WANTED), sink);
    let audit = sources.status()[EventKind::Exec.index()].clone();
    assert_eq!(audit.source, Some(SourceKind::Audit));
    assert!(!sources.climb(plan(&world, "")), "it is broken still");
    assert_eq!(sources.status()[EventKind::Exec.index()].reason, audit.reason);
    assert_eq!(world.stopped.lock().len(), 0);

    world.broken.lock().clear();
    let before_ns = boot_now_ns();
    // Not yet given when the other one takes over.
    let late = exec(SourceKind::Audit, before_ns);
    world.last_words.lock().insert("audit", late);
    // The same, as the one sees it that takes over.
    world.last_words.lock().insert("bpf", exec(SourceKind::Bpf, before_ns));
    assert!(sources.climb(plan(&world, "")));
    let bpf = &sources.status()[EventKind::Exec.index()];
    assert_eq!((bpf.source, bpf.reason.as_str()), (Some(SourceKind::Bpf), ""));
    assert_eq!(sources.shortcomings(), []);
    assert_eq!(*world.stopped.lock(), ["connector", "audit"]);
    // Audit's ten are in the stores, too; what it told in vain it has not received.
    assert_eq!(bpf.health.received, 19);
    // What both saw is told once; what happens now is its own.
    world.tell("bpf", exec(SourceKind::Bpf, boot_now_ns()));
    world.tell("audit", exec(SourceKind::Audit, boot_now_ns()));
    world.tell(
        "connector",
        event(SourceKind::Connector, boot_now_ns(), Body::Exit(Exit::default())),
    );
    let exec = EventKind::Exec;
    assert_eq!(*kept.0.lock(), [(SourceKind::Audit, exec), (SourceKind::Bpf, exec)]);
    assert!(!sources.climb(plan(&world, "")), "there is nothing above");
}

#[test]
fn a_kind_that_nothing_served_is_served_once_something_can() {
    let world = Arc::new(World::default());
    world.broken.lock().extend(["bpf", "audit", "connector"]);
    let sources = start(&world);
    assert_eq!(sources.status()[EventKind::Exec.index()].source, None);
    world.broken.lock().remove("connector");
    assert!(sources.climb(plan(&world, "")));
    let exec = &sources.status()[EventKind::Exec.index()];
    assert_eq!(exec.source, Some(SourceKind::Connector));
    // Those above are still to blame, each once.
    assert_eq!(exec.reason.matches("the kernel said EPERM").count(), 2, "{}", exec.reason);
    assert_eq!(sources.status()[EventKind::Socket.index()].source, None);
}

#[test]
fn another_ladder_is_not_climbed() {
    let world = Arc::new(World::default());
    world.broken.lock().insert("bpf");
    let sources = start(&world);
    world.broken.lock().clear();
    let mut other = plan(&world, "");
    other.candidates.remove(0);
    assert!(!sources.climb(other));
    assert_eq!(sources.status()[EventKind::Exec.index()].source, Some(SourceKind::Audit));
}
