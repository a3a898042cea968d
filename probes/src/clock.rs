//! Time: what the kernel stamps (`CLOCK_BOOTTIME`) against what people read (Unix time).
//!
//! Owns the difference between the two clocks and the identity of the boot. `CLOCK_BOOTTIME` counts
//! through suspend, so suspend leaves the difference alone; setting the wall clock does not, and
//! slewing moves it slowly. So the difference is re-read, and it is only taken over once it has
//! moved by [`STEP_NS`]: until then one moment keeps one Unix time however often it is converted.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

#[cfg(test)]
mod tests;

const NS_PER_S: i64 = 1_000_000_000;

/// The difference is read again once this much has passed since the last reading.
pub const REREAD_NS: u64 = 100_000_000;

/// Smaller movements of the difference are taken for slewing and reading noise.
pub const STEP_NS: i64 = 10_000_000;

/// Pairs of clock readings tried, of which the tightest counts: one may be preempted.
const ATTEMPTS: usize = 3;

/// `CLOCK_BOOTTIME` in nanoseconds, now.
pub fn boot_now_ns() -> u64 {
    u64::try_from(read(ClockId::Boottime)).unwrap_or(0)
}

/// Unix time in nanoseconds, now.
pub fn unix_now_ns() -> i64 {
    read(ClockId::Realtime)
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(NS_PER_S).saturating_add(time.tv_nsec)
}

/// One reading of the distance between the clocks. Converts without asking any clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    offset_ns: i64,
}

impl Base {
    /// The base that holds when the clocks show these two values at one moment.
    pub const fn new(boot_ns: u64, unix_ns: i64) -> Self {
        Self { offset_ns: unix_ns.saturating_sub_unsigned(boot_ns) }
    }

    /// Reads the clocks.
    pub fn now() -> Self {
        let reading = |_| {
            let before = boot_now_ns();
            let unix = unix_now_ns();
            let after = boot_now_ns();
            let width = after.saturating_sub(before);
            (width, Self::new(before.saturating_add(width / 2), unix))
        };
        let first = reading(0);
        let rest = (1..ATTEMPTS).map(reading);
        rest.fold(first, |best, next| if next.0 < best.0 { next } else { best }).1
    }

    /// Unix nanoseconds of a boot time.
    pub const fn unix_ns(self, boot_ns: u64) -> i64 {
        self.offset_ns.saturating_add_unsigned(boot_ns)
    }

    /// Unix seconds of a boot time, rounded down.
    pub const fn unix_s(self, boot_ns: u64) -> i64 {
        self.unix_ns(boot_ns).div_euclid(NS_PER_S)
    }

    /// Boot time of a Unix time. `None`: it was before this boot.
    pub fn boot_ns(self, unix_ns: i64) -> Option<u64> {
        u64::try_from(unix_ns.checked_sub(self.offset_ns)?).ok()
    }

    /// The base to go on with when `read` was just read: this one, unless the clock was stepped.
    #[must_use]
    pub const fn follow(self, read: Self) -> Self {
        let moved = read.offset_ns.saturating_sub(self.offset_ns);
        if moved.unsigned_abs() >= STEP_NS.unsigned_abs() { read } else { self }
    }
}

/// A [`Base`] that re-reads itself; shared by threads.
#[derive(Debug)]
pub struct Clock {
    offset_ns: AtomicI64,
    read_at_ns: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// Reads the clocks for the first time.
    pub fn new() -> Self {
        Self {
            offset_ns: AtomicI64::new(Base::now().offset_ns),
            read_at_ns: AtomicU64::new(boot_now_ns()),
        }
    }

    /// The base in force, not older than [`REREAD_NS`]. Costs one reading of a clock; whoever
    /// converts a batch asks once.
    pub fn base(&self) -> Base {
        self.base_at(boot_now_ns(), Base::now)
    }

    /// Unix nanoseconds of a boot time.
    pub fn unix_ns(&self, boot_ns: u64) -> i64 {
        self.base().unix_ns(boot_ns)
    }

    fn base_at(&self, now_ns: u64, reread: impl FnOnce() -> Base) -> Base {
        // Threads that race here store equally good readings.
        let held = Base { offset_ns: self.offset_ns.load(Ordering::Relaxed) };
        if now_ns.saturating_sub(self.read_at_ns.load(Ordering::Relaxed)) < REREAD_NS {
            return held;
        }
        let base = held.follow(reread());
        self.offset_ns.store(base.offset_ns, Ordering::Relaxed);
        self.read_at_ns.store(now_ns, Ordering::Relaxed);
        base
    }
}

/// Where the kernel shows the boot's id.
pub const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The random UUID of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub u128);

impl BootId {
    /// Reads [`BOOT_ID_PATH`].
    ///
    /// # Errors
    /// The file cannot be read, or holds no UUID.
    pub fn read() -> io::Result<Self> {
        let describe = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot read {BOOT_ID_PATH}: {error}"))
        };
        let text = std::fs::read_to_string(BOOT_ID_PATH).map_err(describe)?;
        Self::parse(text.trim_end()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{BOOT_ID_PATH}: not a UUID"))
        })
    }

    /// Reads the text form, 8-4-4-4-12 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits = String::with_capacity(32);
        let mut groups = text.split('-');
        for length in [8, 4, 4, 4, 12] {
            let group = groups.next()?;
            if group.len() != length || !group.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            digits.push_str(group);
        }
        if groups.next().is_some() {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(Self)
    }
}
