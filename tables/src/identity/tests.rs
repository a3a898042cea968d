use super::*;

#[test]
fn the_id_is_what_sha256sum_says() {
    // printf '%s:%s:%s' 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 4321 987654 | sha256sum | cut -c1-16
    let boot = BootId::parse("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0").unwrap();
    let id = Identity::new(boot).process(ProcessKey { pid: 4321, start_ns: 9_876_540_001_234 });
    let mut text = String::new();
    id.push(&mut text);
    assert_eq!(text, "71c2a9d6841ed315");
    assert_eq!(ProcessId::parse(&text), Some(id));
}

#[test]
fn a_reused_pid_is_another_process() {
    let identity = Identity::new(BootId(1));
    let first = identity.process(ProcessKey { pid: 7, start_ns: 10_000_000 });
    let second = identity.process(ProcessKey { pid: 7, start_ns: 20_000_000 });
    let same = identity.process(ProcessKey { pid: 7, start_ns: 19_999_999 });
    assert_ne!(first, second);
    assert_eq!(first, same);
}

#[test]
fn only_the_written_form_is_read() {
    assert_eq!(ProcessId::parse("00000000000000ff"), Some(ProcessId(255)));
    for text in ["ff", "00000000000000FF", "+0000000000000ff", "00000000000000fg", ""] {
        assert_eq!(ProcessId::parse(text), None, "{text}");
    }
}
