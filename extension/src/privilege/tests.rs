use super::*;

#[test]
fn with_bpf_and_perfmon_nothing_like_root_is_kept() {
    let kept = kept_of(CapabilitySet::all());
    for root in [
        CapabilitySet::SYS_ADMIN,
        CapabilitySet::SYS_MODULE,
        CapabilitySet::SYS_RAWIO,
        CapabilitySet::DAC_OVERRIDE,
        CapabilitySet::FOWNER,
        CapabilitySet::CHOWN,
        CapabilitySet::SETUID,
        CapabilitySet::SETPCAP,
        CapabilitySet::SETFCAP,
        CapabilitySet::MKNOD,
        CapabilitySet::SYS_CHROOT,
        CapabilitySet::MAC_ADMIN,
    ] {
        assert!(!kept.intersects(root), "{root:?}");
    }
    assert_eq!(kept, KEPT);
}

#[test]
fn nothing_is_kept_that_was_not_there() {
    let has = CapabilitySet::BPF.union(CapabilitySet::PERFMON).union(CapabilitySet::CHOWN);
    assert_eq!(kept_of(has), CapabilitySet::BPF.union(CapabilitySet::PERFMON));
    assert_eq!(kept_of(CapabilitySet::empty()), CapabilitySet::empty());
}

#[test]
fn where_only_sys_admin_was_given_it_stays_since_bpf_needs_it() {
    let has = CapabilitySet::SYS_ADMIN.union(CapabilitySet::NET_ADMIN);
    assert_eq!(kept_of(has), has);
}
