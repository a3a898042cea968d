//! Bits and attributes in, actions out.

use super::*;
use FileAction::{
    Access, Attributes, Chmod, Chown, CloseWrite, Create, Link, Mkdir, Modify, Open, Rmdir,
    Symlink, Unlink,
};

const NOW: Stamp = 1_000_000;

fn regular() -> Attrs {
    Attrs {
        mode: libc::S_IFREG | 0o644,
        uid: 0,
        gid: 0,
        size: 10,
        nlink: 1,
        mtime: NOW,
        btime: Some(NOW),
    }
}

fn seen(attrs: Attrs) -> Seen {
    Seen {
        attrs: Some(attrs),
        object: None,
        path: b"/a".as_slice().into(),
        written: false,
        unlinked: false,
    }
}

fn judge(mask: u64, now: Option<Attrs>, before: Option<Seen>) -> Vec<FileAction> {
    actions(&Sight {
        mask,
        now: now.as_ref(),
        before: before.as_ref(),
        settled_before: NOW - 10,
        watched_since: 0,
        named: false,
        access: true,
    })
}

#[test]
fn merged_bits_come_out_in_the_order_of_a_life() {
    let all = libc::FAN_CREATE
        | libc::FAN_DELETE
        | libc::FAN_MODIFY
        | libc::FAN_CLOSE_WRITE
        | libc::FAN_ATTRIB
        | libc::FAN_OPEN
        | libc::FAN_ACCESS;
    assert_eq!(judge(all, None, None), [Create, Open, Access, Attributes, CloseWrite, Unlink]);
    assert_eq!(
        judge(libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_ONDIR, None, None),
        [Mkdir, Rmdir]
    );
}

#[test]
fn what_is_there_after_it_went_and_came_went_first() {
    let (now, before) = (regular(), seen(regular()));
    let sight = Sight {
        mask: libc::FAN_CREATE | libc::FAN_DELETE,
        now: Some(&now),
        before: Some(&before),
        settled_before: NOW,
        watched_since: 0,
        named: true,
        access: false,
    };
    assert_eq!(actions(&sight), [Unlink, Link]);
}

#[test]
fn a_new_name_is_a_link_if_the_inode_is_older() {
    let create = libc::FAN_CREATE;
    let two_names = Attrs { nlink: 2, ..regular() };
    let old = Attrs { btime: Some(NOW - 1000), ..two_names };
    assert_eq!(judge(create, Some(regular()), None), [Create]);
    assert_eq!(judge(create, Some(regular()), Some(seen(regular()))), [Link]);
    assert_eq!(judge(create, Some(old), None), [Link]);
    assert_eq!(judge(create, Some(Attrs { btime: None, ..two_names }), None), [Link]);
    // Created a moment ago, and linked before we looked: this may be the first name.
    assert_eq!(judge(create, Some(two_names), None), [Create]);
    let gone = Seen { unlinked: true, ..seen(regular()) };
    assert_eq!(judge(create, Some(regular()), Some(gone)), [Create]);
}

#[test]
fn a_symbolic_link_is_told_by_its_mode() {
    let link = Attrs { mode: libc::S_IFLNK | 0o777, ..regular() };
    assert_eq!(judge(libc::FAN_CREATE, Some(link), None), [Symlink]);
}

#[test]
fn a_close_counts_only_if_something_was_written() {
    let close = libc::FAN_CLOSE_WRITE;
    let none: [FileAction; 0] = [];
    assert_eq!(judge(close | libc::FAN_MODIFY, Some(regular()), None), [CloseWrite]);
    assert_eq!(judge(close, Some(regular()), Some(seen(regular()))), none);
    let written = Seen { written: true, ..seen(regular()) };
    assert_eq!(judge(close, Some(regular()), Some(written)), [CloseWrite]);
    let mapped = Attrs { mtime: NOW + 1, ..regular() };
    assert_eq!(judge(close, Some(mapped), Some(seen(regular()))), [CloseWrite]);
    let empty = Attrs { size: 0, ..regular() };
    assert_eq!(judge(close | libc::FAN_CREATE, Some(empty), None), [Create]);
}

#[test]
fn a_file_never_seen_before_changed_if_it_did_since_the_watch_began() {
    let (now, none) = (regular(), [FileAction::Modify; 0]);
    let at = |watched_since| {
        actions(&Sight {
            mask: libc::FAN_CLOSE_WRITE,
            now: Some(&now),
            before: None,
            settled_before: NOW,
            watched_since,
            named: false,
            access: false,
        })
    };
    assert_eq!(at(NOW - 1), [CloseWrite]);
    assert_eq!(at(NOW + 1), none);
}

#[test]
fn what_is_done_to_devices_and_pipes_is_no_change_of_content() {
    let pipe = Attrs { mode: libc::S_IFIFO | 0o644, ..regular() };
    let bits = libc::FAN_MODIFY | libc::FAN_CLOSE_WRITE | libc::FAN_OPEN | libc::FAN_ACCESS;
    assert_eq!(judge(bits, Some(pipe), None), [FileAction::Modify; 0]);
    assert_eq!(judge(libc::FAN_MODIFY, Some(regular()), None), [Modify]);
}

#[test]
fn a_directory_that_is_opened_is_opened() {
    let dir = Attrs { mode: libc::S_IFDIR | 0o755, ..regular() };
    let bits = libc::FAN_OPEN | libc::FAN_ACCESS | libc::FAN_ONDIR;
    assert_eq!(judge(bits, Some(dir), None), [Open, Access]);
}

#[test]
fn attributes_are_told_apart_by_what_was_remembered() {
    let attrib = |now| judge(libc::FAN_ATTRIB, Some(now), Some(seen(regular())));
    assert_eq!(attrib(Attrs { mode: libc::S_IFREG | 0o600, ..regular() }), [Chmod]);
    assert_eq!(attrib(Attrs { uid: 5, ..regular() }), [Chown]);
    assert_eq!(attrib(Attrs { gid: 5, mode: libc::S_IFREG | 0o600, ..regular() }), [Chown, Chmod]);
    assert_eq!(attrib(regular()), [Attributes]);
    assert_eq!(judge(libc::FAN_ATTRIB, Some(regular()), None), [Attributes]);
    assert_eq!(judge(libc::FAN_ATTRIB, None, Some(seen(regular()))), [Attributes]);
}

#[test]
fn a_change_of_owner_that_clears_set_user_id_is_no_change_of_mode() {
    let before = Attrs { mode: libc::S_IFREG | libc::S_ISUID | 0o755, ..regular() };
    let now = Attrs { mode: libc::S_IFREG | 0o755, uid: 7, ..regular() };
    assert_eq!(judge(libc::FAN_ATTRIB, Some(now), Some(seen(before))), [Chown]);
}
