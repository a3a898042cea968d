use super::*;

const ALL: [EventKind; 4] =
    [EventKind::Exec, EventKind::Setid, EventKind::Namespace, EventKind::Socket];

fn want<'a>(kinds: &'a [EventKind], roots: &'a [Root]) -> Want<'a> {
    Want {
        kinds,
        roots,
        file_access: false,
        unix_sockets: false,
        own_pid: 7,
        archs: &[Arch::X86_64, Arch::I386],
        key: KEY,
    }
}

fn covering(wishes: &[Wish], arch: Arch, call: Call) -> usize {
    let covers = |wish: &&Wish| call.numbers(arch).any(|number| wish.rule.covers(arch, number));
    wishes.iter().filter(covers).count()
}

#[test]
fn each_call_is_asked_for_on_both_widths() {
    let wishes = wishes(&want(&ALL, &[]));
    for arch in [Arch::X86_64, Arch::I386] {
        for call in [Call::Execve, Call::Execveat, Call::Setresuid, Call::Unshare, Call::Setns] {
            assert_eq!(covering(&wishes, arch, call), 1, "{arch:?} {call:?}");
        }
        // One rule for each family.
        assert_eq!(covering(&wishes, arch, Call::Connect), 2);
        assert_eq!(covering(&wishes, arch, Call::Listen), 1);
        assert_eq!(covering(&wishes, arch, Call::Accept4), 1);
    }
    // bind, connect, listen, accept and accept4 through the multiplexer.
    assert_eq!(covering(&wishes, Arch::I386, Call::Socketcall), 5);
}

#[test]
fn every_rule_has_our_key_and_the_kind_it_is_for() {
    let wishes = wishes(&want(&ALL, &[]));
    assert!(wishes.iter().all(|wish| wish.rule.is_ours()));
    assert!(wishes.iter().filter_map(|wish| wish.simpler.as_ref()).all(Rule::is_ours));
    let kinds: std::collections::BTreeSet<_> = wishes.iter().map(|wish| wish.kind).collect();
    assert_eq!(kinds, ALL.into());
}

#[test]
fn what_is_not_wanted_has_no_rule() {
    assert!(wishes(&want(&[], &[])).is_empty());
    assert!(wishes(&want(&[EventKind::Fork, EventKind::Exit], &[])).is_empty());
    assert!(wishes(&want(&[EventKind::File], &[])).is_empty());
}

#[test]
fn our_own_sockets_and_files_are_left_out_by_the_kernel() {
    let roots = [Root { path: "/etc".into(), depth: None }];
    let wishes = wishes(&want(&[EventKind::Socket, EventKind::File], &roots));
    for wish in wishes {
        let own = |found: &&crate::audit::rule::Condition| {
            (found.field, found.compare, found.value) == (0, Compare::NotEqual as u32, 7)
        };
        assert_eq!(wish.rule.narrowing().filter(own).count(), 1);
    }
}

#[test]
fn unix_sockets_are_asked_for_only_when_wanted() {
    let families = |unix_sockets| {
        let want = Want { unix_sockets, ..want(&[EventKind::Socket], &[]) };
        let families: std::collections::BTreeSet<u32> = wishes(&want)
            .iter()
            .flat_map(|wish| wish.rule.conditions.clone())
            .filter(|found| found.field == Field::SaddrFam as u32)
            .map(|found| found.value)
            .collect();
        families
    };
    assert_eq!(families(false), [AF_INET, AF_INET6].into());
    assert_eq!(families(true), [AF_UNIX, AF_INET, AF_INET6].into());
}

#[test]
fn a_directory_is_watched_as_a_tree_and_a_file_by_its_path() {
    let roots = [
        Root { path: "/etc".into(), depth: None },
        Root { path: "/var/log".into(), depth: Some(1) },
        Root { path: "/etc/passwd".into(), depth: Some(0) },
    ];
    let wishes = wishes(&want(&[EventKind::File], &roots));
    let places = |field: Field| {
        let texts = wishes.iter().flat_map(|wish| wish.rule.conditions.clone());
        let texts = texts.filter(move |found| found.field == field as u32);
        let texts = texts.filter_map(|found| String::from_utf8(found.text?).ok());
        texts.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(places(Field::Dir), ["/etc".to_owned(), "/var/log".to_owned()].into());
    assert_eq!(places(Field::Watch), ["/etc/passwd".to_owned()].into());
}

#[test]
fn no_more_roots_are_watched_than_the_bound() {
    let root = |number| Root { path: format!("/r{number}").into(), depth: None };
    let roots: Vec<_> = (0..MAX_ROOTS + 5).map(root).collect();
    let wishes = wishes(&want(&[EventKind::File], &roots));
    // One for what the kernel classes as changes, and one on each width for times.
    assert_eq!(wishes.len(), 3 * MAX_ROOTS);
}
