use super::*;
use crate::host::{Capabilities, Capability};

const EVERYTHING: Capabilities = Capabilities(u64::MAX);

fn host(release: &str) -> Host {
    Host {
        kernel_release: release.to_owned(),
        capabilities: EVERYTHING,
        admin_helper: false,
        kernel_btf: true,
        initial_pid_namespace: Some(true),
        initial_user_namespace: Some(true),
        ..Host::read()
    }
}

struct Known {
    host: Host,
    surroundings: Surroundings,
    audit: Result<Verdict, Refusal>,
    ignore_quirks: bool,
}

impl Known {
    fn new(release: &str) -> Self {
        Self {
            host: host(release),
            surroundings: Surroundings::default(),
            audit: Ok(Verdict::Writing(String::new())),
            ignore_quirks: false,
        }
    }

    fn decide(&self, wish: Wish) -> Vec<Rung> {
        let facts = Facts {
            host: &self.host,
            surroundings: &self.surroundings,
            audit: &self.audit,
            ignore_quirks: self.ignore_quirks,
        };
        decide(&facts, wish)
    }

    /// The first source that may serve a kind.
    fn first(&self, wish: Wish, kind: EventKind) -> Option<SourceKind> {
        let rungs = self.decide(wish);
        let may = |rung: &&Rung| rung.serves.contains(&kind) && rung.refused.is_none();
        rungs.iter().find(may).map(|rung| rung.source)
    }
}

fn refusal(known: &Known, source: SourceKind) -> String {
    let rungs = known.decide(Wish::Auto);
    let rung = rungs.iter().find(|rung| rung.source == source).unwrap();
    rung.refused.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn on_a_host_where_all_works_bpf_gives_processes_and_sockets_and_fanotify_files() {
    let known = Known::new("6.1.0");
    assert_eq!(known.first(Wish::Auto, EventKind::Exec), Some(SourceKind::Bpf));
    assert_eq!(known.first(Wish::Auto, EventKind::Socket), Some(SourceKind::Bpf));
    assert_eq!(known.first(Wish::Auto, EventKind::File), Some(SourceKind::Fanotify));
    assert!(known.decide(Wish::Auto).iter().all(|rung| rung.refused.is_none()));
}

#[test]
fn without_btf_it_goes_down_to_audit_and_says_why() {
    let mut known = Known::new("4.14.0");
    known.host.kernel_btf = false;
    assert_eq!(known.first(Wish::Auto, EventKind::Exec), Some(SourceKind::Audit));
    assert_eq!(known.first(Wish::Auto, EventKind::Socket), Some(SourceKind::Audit));
    assert!(refusal(&known, SourceKind::Bpf).contains("BTF"));
}

#[test]
fn without_audit_too_the_connector_gives_processes_and_nothing_gives_sockets() {
    let mut known = Known::new("4.14.0");
    known.host.kernel_btf = false;
    known.audit = Err(Refusal { why: "booted with audit=0".into(), remedy: "boot".into() });
    assert_eq!(known.first(Wish::Auto, EventKind::Exec), Some(SourceKind::Connector));
    assert_eq!(known.first(Wish::Auto, EventKind::Exit), Some(SourceKind::Connector));
    assert_eq!(known.first(Wish::Auto, EventKind::Socket), None);
    assert_eq!(known.first(Wish::Auto, EventKind::File), Some(SourceKind::Fanotify));
    assert!(refusal(&known, SourceKind::Audit).contains("booted with audit=0; boot"));
}

#[test]
fn without_fanotify_files_come_from_bpf_and_without_both_from_audit() {
    let mut known = Known::new("6.1.0");
    let no_admin = !(1 << Capability::DacReadSearch as u8);
    known.host.capabilities = Capabilities(no_admin);
    assert_eq!(known.first(Wish::Auto, EventKind::File), Some(SourceKind::Bpf));
    assert_eq!(known.first(Wish::Audit, EventKind::File), Some(SourceKind::Audit));
    assert_eq!(known.first(Wish::Connector, EventKind::File), None);
}

#[test]
fn what_is_wished_for_is_all_there_is_but_for_files() {
    let known = Known::new("6.1.0");
    let sources = |wish| {
        let rungs = known.decide(wish);
        rungs.iter().map(|rung| rung.source.as_str()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(sources(Wish::Auto), "fanotify bpf audit connector");
    assert_eq!(sources(Wish::Bpf), "fanotify bpf");
    assert_eq!(sources(Wish::Audit), "fanotify audit connector");
    assert_eq!(sources(Wish::Connector), "fanotify connector");
    assert_eq!(sources(Wish::Off), "");
}

#[test]
fn kernels_that_bpf_hurts_go_to_audit_unless_told_otherwise() {
    for release in ["5.15.0-0.30.20.el8uek.x86_64", "5.15.0-0.30.20.1.el8uek.x86_64"] {
        let mut known = Known::new(release);
        assert_eq!(known.first(Wish::Auto, EventKind::Exec), Some(SourceKind::Audit), "{release}");
        let why = refusal(&known, SourceKind::Bpf);
        assert!(why.contains(release) && why.contains("learn.microsoft.com"), "{why}");
        assert!(why.contains("--ignore-kernel-quirks"), "{why}");
        known.ignore_quirks = true;
        assert_eq!(known.first(Wish::Auto, EventKind::Exec), Some(SourceKind::Bpf), "{release}");
    }
}

#[test]
fn kernels_beside_those_are_not_refused() {
    for release in [
        "5.15.0-0.30.20.2.el8uek.x86_64",
        "5.15.0-0.30.19.el8uek.x86_64",
        "5.15.0-1.43.4.el8uek.x86_64",
        "5.15.0-0.30.20.el9uek.x86_64",
        "4.18.0-147.el8.x86_64",
        "6.18.44",
    ] {
        assert_eq!(quirks::find(release, &Surroundings::default()), None, "{release}");
    }
}

#[test]
fn rhel_8_1_is_refused_only_where_sap_runs() {
    let sap = Surroundings { sap: true, ..Surroundings::default() };
    for release in ["4.18.0-147.el8.x86_64", "4.18.0-147.48.1.el8_1.x86_64"] {
        assert!(quirks::find(release, &sap).is_some(), "{release}");
        assert!(quirks::find(release, &Surroundings::default()).is_none(), "{release}");
    }
    assert_eq!(quirks::find("4.18.0-193.el8.x86_64", &sap), None);
}

#[test]
fn oracle_linux_7_9_is_refused_only_under_ksplice() {
    let oracle = |version: &str, ksplice| Surroundings {
        os_id: "ol".into(),
        os_version: version.into(),
        ksplice,
        sap: false,
    };
    for release in ["5.4.17-2136.322.6.el7uek.x86_64", "3.10.0-1160.el7.x86_64"] {
        assert!(quirks::find(release, &oracle("7.9", true)).is_some(), "{release}");
        assert!(quirks::find(release, &oracle("7.9", false)).is_none(), "{release}");
        assert!(quirks::find(release, &oracle("8.8", true)).is_none(), "{release}");
    }
}

#[test]
fn every_line_of_the_table_says_who_says_so_and_what_helps() {
    for quirk in quirks::QUIRKS {
        assert!(!quirk.what.is_empty() && !quirk.source.is_empty() && !quirk.remedy.is_empty());
    }
    assert_eq!(quirks::QUIRKS.len(), 3);
}

#[test]
fn the_surroundings_can_be_read_here() {
    let found = Surroundings::read();
    assert!(!found.os_id.is_empty());
}
