//! Per-call tracepoints (`syscalls:sys_enter_X`), without a mounted tracefs.
//!
//! A classic tracepoint is named to `perf_event_open(2)` by a number that only tracefs tells. Many
//! hosts and containers have none mounted, and mounting one is not ours to do: so a private instance
//! is made with fsopen(2), which is in no mount namespace and is gone when its descriptor closes.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, openat};

use crate::admin;

/// Where tracefs is mounted where it is.
const MOUNTED: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Where the numbers of tracepoints are read.
pub enum TraceFs {
    /// The host has it mounted here.
    Mounted(PathBuf),
    /// Our own, which nobody else sees.
    Detached(OwnedFd),
}

impl TraceFs {
    /// Finds the mounted one, or makes a detached one.
    ///
    /// # Errors
    /// Why neither can be had: `ENODEV` without CONFIG_TRACING, `EPERM` without CAP_SYS_ADMIN,
    /// `ENOSYS` before 5.2.
    pub fn open() -> io::Result<Self> {
        for path in MOUNTED {
            let path = PathBuf::from(path);
            if path.join("events").is_dir() {
                return Ok(Self::Mounted(path));
            }
        }
        Ok(Self::Detached(admin::tracefs()?))
    }

    /// The number of `category:name`.
    ///
    /// # Errors
    /// `ENOENT`: the kernel has no such tracepoint (the call does not exist, or
    /// CONFIG_FTRACE_SYSCALLS is off).
    pub fn id(&self, category: &str, name: &str) -> io::Result<u64> {
        let path = format!("events/{category}/{name}/id");
        let text = match self {
            Self::Mounted(root) => fs::read_to_string(root.join(&path))?,
            Self::Detached(root) => {
                let file = openat(root, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
                io::read_to_string(fs::File::from(file))?
            }
        };
        text.trim().parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{path} holds {text:?}"))
        })
    }
}
