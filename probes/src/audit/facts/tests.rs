use super::super::rule::{Compare, Field};
use super::super::status::ON;
use super::*;

fn facts(enabled: u32) -> Facts {
    Facts {
        status: Status { enabled, failure: 1, ..Status::default() },
        daemon: None,
        rules: Vec::new(),
    }
}

fn rule(list: u32, action: u32) -> Rule {
    let mut rule = Rule::record().every_call();
    (rule.list, rule.action) = (list, action);
    rule
}

fn why(facts: &Facts) -> String {
    facts.judge().unwrap_err().why
}

#[test]
fn an_idle_subsystem_may_be_written() {
    assert_eq!(facts(OFF).judge(), Ok(Verdict::Writing(String::new())));
    let with_daemon = Facts { daemon: Some("auditd".into()), ..facts(ON) };
    assert_eq!(with_daemon.judge(), Ok(Verdict::Writing(String::new())));
}

#[test]
fn immutable_is_only_read_and_needs_a_reboot_to_change() {
    let Ok(Verdict::Reading(why)) = facts(IMMUTABLE).judge() else { panic!() };
    assert!(why.contains("immutable") && why.contains("reboot"), "{why}");
}

#[test]
fn where_a_loss_would_halt_the_host_nothing_is_added() {
    let mut facts = facts(ON);
    facts.status.failure = FAIL_PANIC;
    let Ok(Verdict::Reading(why)) = facts.judge() else { panic!() };
    assert!(why.contains("halt"), "{why}");
}

#[test]
fn a_rule_that_keeps_all_tasks_from_being_recorded_rules_audit_out() {
    let facts = Facts { rules: vec![rule(list::TASK, NEVER)], ..facts(ON) };
    assert!(why(&facts).contains("never,task"));
}

#[test]
fn audit_that_somebody_switched_off_is_left_off() {
    let facts = Facts { daemon: Some("auditd".into()), ..facts(OFF) };
    assert!(why(&facts).contains("switched off"));
}

#[test]
fn rules_of_others_that_take_away_from_ours_are_told() {
    let rules =
        vec![rule(list::EXIT, NEVER), rule(list::EXCLUDE, ALWAYS), rule(list::EXIT, ALWAYS)];
    let facts = Facts { rules, ..facts(ON) };
    let Ok(Verdict::Writing(taken)) = facts.judge() else { panic!() };
    assert!(taken.starts_with("1 rules of others (never,exit) and 1 (exclude)"), "{taken}");
}

#[test]
fn what_others_rules_feed_us_is_known_by_the_calls_they_name() {
    let arch = Arch::X86_64;
    let exec = Rule::record().with(Field::Arch, Compare::Equal, arch.token()).call(59).call(322);
    let some = exec.clone().with(Field::Success, Compare::Equal, 1);
    let mut facts = Facts { rules: vec![some], ..facts(IMMUTABLE) };
    assert_eq!(facts.fed(EventKind::Exec, arch), Some((1, false)));
    facts.rules.push(exec);
    assert_eq!(facts.fed(EventKind::Exec, arch), Some((2, true)));
    assert_eq!(facts.fed(EventKind::Exec, Arch::I386), None);
    assert_eq!(facts.fed(EventKind::Socket, arch), None);
    facts.rules = vec![rule(list::EXIT, NEVER)];
    assert_eq!(facts.fed(EventKind::Exec, arch), None);
}

#[test]
fn the_last_word_on_the_kernels_command_line_counts() {
    assert!(booted_off("quiet audit=0") && booted_off("audit=1 audit=off"));
    for on in ["", "audit=1", "audit=0 audit=1", "noaudit=0", "audit=00"] {
        assert!(!booted_off(on), "{on}");
    }
}

#[test]
fn audit_that_is_off_since_boot_is_not_taken_for_a_kernel_without_it() {
    let error = io::Error::from_raw_os_error(libc::EPROTONOSUPPORT);
    let off = not_there(&error, "quiet audit=0");
    assert!(off.why.contains("audit=0") && off.remedy.contains("audit=1"), "{off:?}");
    let without = not_there(&error, "quiet");
    assert!(without.remedy.contains("CONFIG_AUDITSYSCALL"), "{without:?}");
    let denied = not_there(&io::Error::from_raw_os_error(libc::EACCES), "audit=0");
    assert!(!denied.why.contains("audit=0"), "{denied:?}");
}
