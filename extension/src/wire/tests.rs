use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use thrift::protocol::{TInputProtocol, TOutputProtocol, TType};

use super::*;

const LIMIT: usize = 1 << 16;

fn reading(bytes: &[u8]) -> Input<&[u8]> {
    Input::new(bytes, LIMIT)
}

/// A message header, as Thrift's own writer makes it.
fn header() -> Vec<u8> {
    use thrift::protocol::{TBinaryOutputProtocol, TMessageIdentifier, TMessageType};
    let mut bytes = Vec::new();
    let mut output = TBinaryOutputProtocol::new(&mut bytes, true);
    output.write_message_begin(&TMessageIdentifier::new("call", TMessageType::Call, 7)).unwrap();
    bytes
}

#[test]
fn a_header_of_thrifts_own_writer_is_read() {
    let message = reading(&header()).read_message_begin().unwrap();
    assert_eq!((message.name.as_str(), message.sequence_number), ("call", 7));
}

#[test]
fn a_length_beyond_the_message_is_refused_before_anything_is_allocated() {
    for length in [i32::MAX, i32::try_from(LIMIT).unwrap(), -1, i32::MIN] {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(b"short");
        let error = reading(&bytes).read_string().unwrap_err();
        assert!(matches!(error, thrift::Error::Protocol(_)), "{length}: {error}");
    }
}

#[test]
fn a_list_or_map_that_cannot_come_is_refused() {
    let sizes = [i32::MAX, i32::try_from(LIMIT).unwrap() / 6 + 1, -1];
    for size in sizes {
        for (element, read) in [
            (vec![13], (|input| input.read_list_begin().map(|_| ())) as fn(&mut Input<&[u8]>) -> _),
            // A list that claims to be of bytes would still be read as one of maps.
            (vec![3], |input| input.read_list_begin().map(|_| ())),
            (vec![11, 11], |input| input.read_map_begin().map(|_| ())),
        ] {
            let mut bytes = element;
            bytes.extend_from_slice(&size.to_be_bytes());
            assert!(read(&mut reading(&bytes)).is_err(), "{size}");
        }
    }
}

#[test]
fn an_empty_map_may_leave_its_types_out() {
    let map = reading(&[0, 0, 0, 0, 0, 0]).read_map_begin().unwrap();
    assert_eq!((map.key_type, map.size), (None, 0));
}

#[test]
fn a_message_that_is_too_long_altogether_is_refused() {
    let mut bytes = header();
    for _ in 0..LIMIT / 1_000 + 1 {
        bytes.extend_from_slice(&1_000_i32.to_be_bytes());
        bytes.extend_from_slice(&[b'x'; 1_000]);
    }
    let mut input = reading(&bytes);
    input.read_message_begin().unwrap();
    let texts = std::iter::repeat_with(|| input.read_string()).take_while(Result::is_ok).count();
    assert_eq!(texts, (LIMIT - header().len()) / 1_004);
}

#[test]
fn nested_structures_end_at_a_depth() {
    // A struct whose first field is a struct whose first field is a struct ….
    let bytes = [12, 0, 1].repeat(10_000);
    assert!(reading(&bytes).skip(TType::Struct).is_err());
}

#[test]
fn text_that_is_not_utf8_is_read_with_replacements() {
    let text = reading(&[0, 0, 0, 3, b'a', 0xff, b'b']).read_string().unwrap();
    assert_eq!(text, "a\u{fffd}b");
}

#[test]
fn random_bytes_never_panic_and_never_last() {
    use proptest::prelude::*;
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..512), valid in any::<bool>())| {
        let bytes = if valid { [header(), bytes].concat() } else { bytes };
        let mut input = reading(&bytes);
        if input.read_message_begin().is_ok() {
            let _ = input.skip(TType::Struct);
        }
    });
}

#[test]
fn a_read_ends_at_its_deadline_however_often_bytes_arrive() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut input = Input::new(
        Stream::new(ours, Deadline::new(Duration::from_millis(150), Duration::ZERO)),
        LIMIT,
    );
    let writer = std::thread::spawn(move || {
        // A message that would take two seconds to arrive.
        for _ in 0..200 {
            if theirs.write_all(&[0]).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    });
    let began = Instant::now();
    let error = input.read_bytes().and_then(|_| input.read_string()).and_then(|_| {
        std::iter::repeat_with(|| input.read_i64()).find_map(Result::err).map_or(Ok(()), Err)
    });
    assert!(matches!(
        error.unwrap_err(),
        thrift::Error::Transport(error) if error.kind == thrift::TransportErrorKind::TimedOut
    ));
    assert!(began.elapsed() < Duration::from_secs(1));
    drop(input);
    writer.join().unwrap();
}

#[test]
fn a_write_gives_up_on_a_peer_that_reads_nothing() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let deadline = Deadline::new(Duration::from_secs(9), Duration::from_millis(50));
    let mut stream = Stream::new(ours, deadline);
    let error = std::iter::repeat_with(|| stream.write(&[0; 65_536])).find_map(Result::err);
    assert_eq!(error.unwrap().kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn a_peer_of_our_own_user_is_talked_to() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(check_peer(&ours).is_ok());
}

#[test]
fn a_listener_whose_queue_is_full_is_not_waited_for_for_ever() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let directory = crate::testing::directory();
    let path = directory.path().join("full");
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let limit = Duration::from_millis(100);
    let began = Instant::now();
    let mut queued = Vec::new();
    let error = loop {
        match connect(&path, limit) {
            Ok(stream) => queued.push(stream),
            Err(error) => break error,
        }
        assert!(queued.len() < 16, "the queue never fills");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(5));
}
