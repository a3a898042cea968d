//! File operations, each under a name that says what was done to it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Result, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::{Value, json};

/// One of each. Names are unique, so that a witness can tell the operations apart by path alone.
pub fn every_operation(directory: &Path) -> Result<Value> {
    let path = |name: &str| directory.join(name);
    let make = |name: &str| File::create(path(name)).map(drop);

    make("created")?;
    File::create(path("written"))?.write_all(b"content")?;
    OpenOptions::new().append(true).open(path("written"))?.write_all(b" and more")?;
    make("to-unlink")?;
    fs::remove_file(path("to-unlink"))?;
    make("rename-from")?;
    fs::rename(path("rename-from"), path("rename-to"))?;
    make("link-from")?;
    fs::hard_link(path("link-from"), path("link-to"))?;
    symlink("link-from", path("symlink"))?;
    fs::create_dir(path("made-directory"))?;
    fs::create_dir(path("to-rmdir"))?;
    fs::remove_dir(path("to-rmdir"))?;
    make("mode-changed")?;
    fs::set_permissions(path("mode-changed"), Permissions::from_mode(0o640))?;
    make("owner-changed")?;
    chown(path("owner-changed"), Some(12), Some(34))?;
    File::create(path("truncated"))?.write_all(b"twelve bytes")?;
    nix::unistd::truncate(&path("truncated"), 3)?;
    Ok(json!({ "directory": directory, "pid": std::process::id() }))
}

pub fn churn(directory: &Path, count: u32) -> Result<Value> {
    for number in 0..count {
        let path = directory.join(format!("churn-{number}"));
        File::create(&path)?.write_all(b"x")?;
        fs::remove_file(&path)?;
    }
    Ok(json!({ "created": count }))
}

pub fn open_close(path: &Path, count: u32) -> Result<Value> {
    for _ in 0..count {
        drop(File::open(path)?);
    }
    Ok(json!({ "opened": count }))
}
