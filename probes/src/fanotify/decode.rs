//! Events as `read(2)` on a fanotify group returns them: bytes in, records out.
//!
//! Layout: include/uapi/linux/fanotify.h, `struct fanotify_event_metadata` followed by information
//! records up to `event_len`. Touches no descriptor; every length is checked against what is there.

#[cfg(test)]
mod tests;

/// `FANOTIFY_METADATA_VERSION`.
const VERSION: u8 = 3;

/// Size of `struct fanotify_event_metadata`.
const METADATA: usize = 24;

/// Size of `struct fanotify_event_info_header`.
const INFO_HEADER: usize = 4;

/// Where the handle's own bytes begin, after `fsid` and the header of `struct file_handle`.
const HANDLE_DATA: usize = super::sys::HANDLE_HEADER;

/// Identity of an inode: its file system's id, then a `struct file_handle`. Handles hold a
/// generation, so that a reused inode number is another handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle<'a>(&'a [u8]);

impl<'a> Handle<'a> {
    /// Takes bytes made by this module, or by joining an fsid and `sys::handle_of`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// All of it, as a key.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The file system's id.
    pub fn fsid(self) -> &'a [u8] {
        self.0.get(..8).unwrap_or_default()
    }

    /// The `struct file_handle`.
    pub fn file_handle(self) -> &'a [u8] {
        self.0.get(8..).unwrap_or_default()
    }

    /// The inode number, where the handle's type says where it is (include/linux/exportfs.h).
    pub fn inode(self) -> Option<u64> {
        let data = self.0.get(HANDLE_DATA..)?;
        let kind = i32::from_ne_bytes(*self.0.get(12..16)?.first_chunk()?);
        let word = |at: usize| Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?));
        let wide = |at: usize| Some(u64::from_ne_bytes(*data.get(at..)?.first_chunk()?));
        match (kind, data.len()) {
            // FILEID_INO32_GEN and _PARENT as most file systems fill them.
            (1, 8) | (2, 8 | 16) => word(0).map(u64::from),
            // The same type by tmpfs (mm/shmem.c): generation, low half, high half.
            (1, 12) => Some(u64::from(word(4)?) | u64::from(word(8)?) << 32),
            // FILEID_INO64_GEN and _PARENT; FILEID_BTRFS_*, which begin with the object id.
            (0x81 | 0x82 | 0x4d..=0x4f, 8..) => wide(0),
            _ => None,
        }
    }
}

/// A name in a directory. The name `.` is the directory itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The directory.
    pub dir: Handle<'a>,
    /// The name, without NUL.
    pub name: &'a [u8],
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The bytes it was decoded from.
    pub raw: &'a [u8],
    /// `FAN_*` bits, several where the kernel merged events.
    pub mask: u64,
    /// Thread group that did it; 0 where it is outside our pid namespace.
    pub pid: u32,
    /// The object.
    pub object: Option<Handle<'a>>,
    /// Its directory and name.
    pub entry: Option<Entry<'a>>,
    /// Its former directory and name, of a rename.
    pub from: Option<Entry<'a>>,
    /// Its new directory and name, of a rename.
    pub to: Option<Entry<'a>>,
}

impl Event<'_> {
    /// Whether any of these bits is set.
    pub fn has(&self, bits: u64) -> bool {
        self.mask & bits != 0
    }
}

/// What makes no sense about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{have} bytes left, an event has at least {METADATA}")]
    Short { have: usize },
    #[error("metadata version {0}, not {VERSION}")]
    Version(u8),
    #[error("event of {length} bytes with {metadata} of metadata, {have} bytes left")]
    Length { length: usize, metadata: usize, have: usize },
    #[error("information record of {length} bytes, {have} left in the event")]
    InfoLength { length: usize, have: usize },
    #[error("file handle of {length} bytes, {have} left in its record")]
    HandleLength { length: usize, have: usize },
    #[error("name without end")]
    Name,
}

/// The events of a buffer. After an event whose own length makes no sense there is nothing more,
/// as nobody knows where the next begins.
#[derive(Debug, Clone)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// Events in what `read(2)` returned.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match split_event(self.rest) {
            Ok((metadata, infos, rest)) => {
                let raw = self.rest.get(..self.rest.len() - rest.len()).unwrap_or_default();
                self.rest = rest;
                Some(decode(metadata, infos, raw))
            }
            Err(malformed) => {
                self.rest = &[];
                Some(Err(malformed))
            }
        }
    }
}

/// Metadata, information records, what follows the event.
type Split<'a> = (&'a [u8; METADATA], &'a [u8], &'a [u8]);

fn split_event(bytes: &[u8]) -> Result<Split<'_>, Malformed> {
    let metadata = bytes.first_chunk::<METADATA>().ok_or(Malformed::Short { have: bytes.len() })?;
    let [l0, l1, l2, l3, version, _, m0, m1, ..] = *metadata;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let skip = usize::from(u16::from_ne_bytes([m0, m1]));
    let wrong = Malformed::Length { length, metadata: skip, have: bytes.len() };
    if skip < METADATA || length < skip {
        return Err(wrong);
    }
    let (event, rest) = bytes.split_at_checked(length).ok_or(wrong)?;
    Ok((metadata, event.get(skip..).ok_or(wrong)?, rest))
}

fn decode<'a>(
    metadata: &[u8; METADATA],
    mut infos: &'a [u8],
    raw: &'a [u8],
) -> Result<Event<'a>, Malformed> {
    let [_, _, _, _, _, _, _, _, rest @ ..] = *metadata;
    let [m0, m1, m2, m3, m4, m5, m6, m7, _, _, _, _, p0, p1, p2, p3] = rest;
    let mut event = Event {
        raw,
        mask: u64::from_ne_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
        pid: u32::try_from(i32::from_ne_bytes([p0, p1, p2, p3])).unwrap_or(0),
        object: None,
        entry: None,
        from: None,
        to: None,
    };
    while !infos.is_empty() {
        let have = infos.len();
        let &[kind, _, l0, l1] =
            infos.first_chunk::<INFO_HEADER>().ok_or(Malformed::InfoLength { length: 0, have })?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let wrong = Malformed::InfoLength { length, have };
        if length < INFO_HEADER {
            return Err(wrong);
        }
        let (info, rest) = infos.split_at_checked(length).ok_or(wrong)?;
        let body = info.get(INFO_HEADER..).ok_or(wrong)?;
        match kind {
            libc::FAN_EVENT_INFO_TYPE_FID => event.object = Some(split_handle(body)?.0),
            libc::FAN_EVENT_INFO_TYPE_DFID => {
                event.entry = Some(Entry { dir: split_handle(body)?.0, name: b"." });
            }
            libc::FAN_EVENT_INFO_TYPE_DFID_NAME => event.entry = Some(entry(body)?),
            libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME => event.from = Some(entry(body)?),
            libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME => event.to = Some(entry(body)?),
            // Kinds we did not ask for, or of a later kernel.
            _ => {}
        }
        infos = rest;
    }
    Ok(event)
}

fn split_handle(body: &[u8]) -> Result<(Handle<'_>, &[u8]), Malformed> {
    let header = body
        .first_chunk::<HANDLE_DATA>()
        .ok_or(Malformed::HandleLength { length: 0, have: body.len() })?;
    let [_, _, _, _, _, _, _, _, l0, l1, l2, l3, ..] = *header;
    let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let (handle, rest) = body
        .split_at_checked(HANDLE_DATA.saturating_add(length))
        .ok_or(Malformed::HandleLength { length, have: body.len() - HANDLE_DATA })?;
    Ok((Handle(handle), rest))
}

fn entry(body: &[u8]) -> Result<Entry<'_>, Malformed> {
    let (dir, name) = split_handle(body)?;
    let end = name.iter().position(|&byte| byte == 0).ok_or(Malformed::Name)?;
    let name = name.get(..end).filter(|name| !name.is_empty()).ok_or(Malformed::Name)?;
    Ok(Entry { dir, name })
}
