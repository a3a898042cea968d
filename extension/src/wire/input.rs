//! Thrift's strict binary protocol, read without trusting any length in it.

use std::io::{BufRead, BufReader, Read};

use thrift::protocol::{
    TFieldIdentifier, TInputProtocol, TListIdentifier, TMapIdentifier, TMessageIdentifier,
    TMessageType, TSetIdentifier, TStructIdentifier, TType,
};
use thrift::{ProtocolErrorKind, new_protocol_error};

/// Bytes read at a time.
const READ_BUFFER: usize = 16 << 10;
/// No more than this is reserved before the bytes that fill it have arrived.
const RESERVE: usize = 64 << 10;
/// Version and strictness mark of a message header.
const VERSION: [u8; 2] = [0x80, 0x01];

/// Reads messages of at most a given number of bytes.
///
/// Every length is checked against what the message may still hold, counting each element at its
/// smallest encoding, so that a claimed length never makes us allocate or loop beyond the limit.
/// Text that is not UTF-8 is read with replacement characters.
#[derive(Debug)]
pub struct Input<R> {
    reader: BufReader<R>,
    limit: usize,
    left: usize,
}

impl<R: Read> Input<R> {
    /// Reads from `reader` messages of at most `limit` bytes.
    pub fn new(reader: R, limit: usize) -> Self {
        Self { reader: BufReader::with_capacity(READ_BUFFER, reader), limit, left: limit }
    }

    /// Waits for the first byte of the next message. False: the peer has closed instead.
    ///
    /// # Errors
    /// Those of the reader, its time-out among them.
    pub fn wait(&mut self) -> std::io::Result<bool> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(!bytes.is_empty()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take<const N: usize>(&mut self) -> thrift::Result<[u8; N]> {
        self.left = self.left.checked_sub(N).ok_or_else(too_large)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A size that was read, if `each` bytes for every one of them can still come.
    fn size(&self, size: i32, each: usize) -> thrift::Result<i32> {
        let count = usize::try_from(size).map_err(|_| negative())?;
        let bytes = count.checked_mul(each.max(1)).ok_or_else(too_large)?;
        if bytes > self.left { Err(too_large()) } else { Ok(size) }
    }
}

fn too_large() -> thrift::Error {
    new_protocol_error(ProtocolErrorKind::SizeLimit, "a length exceeds what the message may hold")
}

fn negative() -> thrift::Error {
    new_protocol_error(ProtocolErrorKind::NegativeSize, "a length is negative")
}

/// The fewest bytes a value of this type takes.
fn smallest(ty: TType) -> usize {
    match ty {
        TType::I16 => 2,
        TType::I32 | TType::String | TType::Utf7 => 4,
        TType::I64 | TType::Double => 8,
        TType::Set | TType::List => 5,
        TType::Map => 6,
        _ => 1,
    }
}

fn field_type(byte: u8) -> thrift::Result<TType> {
    Ok(match byte {
        0 => TType::Stop,
        2 => TType::Bool,
        3 => TType::I08,
        4 => TType::Double,
        6 => TType::I16,
        8 => TType::I32,
        10 => TType::I64,
        11 => TType::String,
        12 => TType::Struct,
        13 => TType::Map,
        14 => TType::Set,
        15 => TType::List,
        unknown => {
            return Err(new_protocol_error(
                ProtocolErrorKind::InvalidData,
                format!("there is no field type {unknown}"),
            ));
        }
    })
}

impl<R: Read> TInputProtocol for Input<R> {
    fn read_message_begin(&mut self) -> thrift::Result<TMessageIdentifier> {
        self.left = self.limit;
        let [high, low, _, kind] = self.take()?;
        if [high, low] != VERSION {
            return Err(new_protocol_error(
                ProtocolErrorKind::BadVersion,
                format!("a message begins with {high:#04x} {low:#04x}"),
            ));
        }
        let kind = TMessageType::try_from(kind)?;
        let name = self.read_string()?;
        let sequence = self.read_i32()?;
        Ok(TMessageIdentifier::new(name, kind, sequence))
    }

    fn read_message_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_struct_begin(&mut self) -> thrift::Result<Option<TStructIdentifier>> {
        Ok(None)
    }

    fn read_struct_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_field_begin(&mut self) -> thrift::Result<TFieldIdentifier> {
        let ty = field_type(self.read_byte()?)?;
        let id = if ty == TType::Stop { 0 } else { self.read_i16()? };
        Ok(TFieldIdentifier::new::<Option<String>, String, i16>(None, ty, id))
    }

    fn read_field_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_bool(&mut self) -> thrift::Result<bool> {
        Ok(self.read_i8()? != 0)
    }

    fn read_bytes(&mut self) -> thrift::Result<Vec<u8>> {
        let size = self.read_i32()?;
        let size = usize::try_from(self.size(size, 1)?).map_err(|_| negative())?;
        self.left = self.left.checked_sub(size).ok_or_else(too_large)?;
        let mut bytes = Vec::with_capacity(size.min(RESERVE));
        let read = self.reader.by_ref().take(size as u64).read_to_end(&mut bytes)?;
        if read < size {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    }

    fn read_i8(&mut self) -> thrift::Result<i8> {
        Ok(i8::from_be_bytes(self.take()?))
    }

    fn read_i16(&mut self) -> thrift::Result<i16> {
        Ok(i16::from_be_bytes(self.take()?))
    }

    fn read_i32(&mut self) -> thrift::Result<i32> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    fn read_i64(&mut self) -> thrift::Result<i64> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    fn read_double(&mut self) -> thrift::Result<f64> {
        Ok(f64::from_be_bytes(self.take()?))
    }

    fn read_string(&mut self) -> thrift::Result<String> {
        let bytes = self.read_bytes()?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    fn read_list_begin(&mut self) -> thrift::Result<TListIdentifier> {
        let element = field_type(self.read_byte()?)?;
        let size = self.read_i32()?;
        // Generated code reserves room for maps, the only elements there are in the protocol,
        // whatever the peer says they are.
        let each = smallest(element).max(smallest(TType::Map));
        Ok(TListIdentifier::new(element, self.size(size, each)?))
    }

    fn read_list_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_set_begin(&mut self) -> thrift::Result<TSetIdentifier> {
        let element = field_type(self.read_byte()?)?;
        let size = self.read_i32()?;
        Ok(TSetIdentifier::new(element, self.size(size, smallest(element))?))
    }

    fn read_set_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_map_begin(&mut self) -> thrift::Result<TMapIdentifier> {
        let key = self.read_byte()?;
        let value = self.read_byte()?;
        let size = self.read_i32()?;
        if size == 0 {
            // An empty map's types say nothing; some writers leave them 0.
            return Ok(TMapIdentifier::new(None, None, 0));
        }
        let (key, value) = (field_type(key)?, field_type(value)?);
        let each = smallest(key).saturating_add(smallest(value));
        Ok(TMapIdentifier::new(key, value, self.size(size, each)?))
    }

    fn read_map_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_byte(&mut self) -> thrift::Result<u8> {
        Ok(u8::from_be_bytes(self.take()?))
    }
}
