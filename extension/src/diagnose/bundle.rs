//! A compressed tar archive that only its owner can read, written part by part.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The archive that is being written.
pub struct Bundle {
    archive: tar::Builder<GzEncoder<File>>,
    directory: String,
    seconds: u64,
}

impl Bundle {
    /// Makes the file, which must not exist yet: nothing is overwritten, and no link is followed.
    /// Everything in it goes under one directory of this name, made at this Unix second.
    ///
    /// # Errors
    /// The errno of open(2).
    pub fn create(path: &Path, directory: &str, seconds: i64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        let seconds = u64::try_from(seconds).unwrap_or(0);
        Ok(Self { archive, directory: directory.to_owned(), seconds })
    }

    /// Adds one file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        header.set_mode(0o600);
        header.set_mtime(self.seconds);
        let path = format!("{}/{name}", self.directory);
        self.archive.append_data(&mut header, path, text.as_bytes())
    }

    /// Writes what is left of it, down to the disk.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self) -> io::Result<()> {
        self.archive.into_inner()?.finish()?.sync_all()
    }
}
