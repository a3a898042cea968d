use super::*;

#[test]
fn a_wait_status_is_a_code_or_a_signal() {
    let exit = |code, signal, core_dumped| Exit { code, signal, core_dumped: Some(core_dumped) };
    assert_eq!(exit_status(0), exit(Some(0), None, false));
    assert_eq!(exit_status(3 << 8), exit(Some(3), None, false));
    assert_eq!(exit_status(255 << 8), exit(Some(255), None, false));
    assert_eq!(exit_status(9), exit(None, Some(9), false));
    assert_eq!(exit_status(6 | 0x80), exit(None, Some(6), true));
}
