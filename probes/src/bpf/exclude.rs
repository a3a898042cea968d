//! Leaving out in the kernel what an operator does not want to see.
//!
//! Users and networks are put into maps as they are. Programs are named by patterns, which a BPF
//! program cannot match: so each exec that passes on its way to the sink is matched here, once, and
//! its process marked for the programs that see sockets ([`Marker`]). A child of a marked process is
//! marked with it; one that executes something else is not. Between an exec and its mark the events
//! reach the sink, which leaves them out by the same patterns.
//!
//! `bpf/socket_exclude.bpf.h` says what is done with it in the kernel.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::libbpf::{Loaded, Refused, Table};
use crate::event::{Body, FileObject, RawEvent, TICK_NS};
use crate::proc;
use crate::source::{Exclusions, Programs, Sink};
use crate::wire;

/// The map of marks.
pub const MARKS: &str = "quiet_processes";
/// Processes marked at most; the map has as many. Those beyond are left out in user space.
const MARKED_MAX: usize = 4096;

/// Puts users and networks into an object's maps, those of them that it has.
///
/// # Errors
/// [`Refused`]: no descriptor is left.
pub fn hold(loaded: &Loaded, exclude: &Exclusions) -> Result<(), Refused> {
    if let Some(users) = loaded.table("quiet_users")? {
        let keys: Vec<_> = exclude.users.iter().map(|uid| uid.to_ne_bytes().to_vec()).collect();
        say(users.hold(&keys), "users");
    }
    if let Some(networks) = loaded.table("quiet_networks")? {
        let keys: Vec<_> = exclude.networks.iter().map(|network| key(*network)).collect();
        say(networks.hold(&keys), "networks");
    }
    Ok(())
}

fn say(left: usize, what: &str) {
    if left > 0 {
        log::info!("{left} excluded {what} found no room in the kernel: left out here instead");
    }
}

/// A network as a key of the trie.
fn key((address, bits): (IpAddr, u8)) -> Vec<u8> {
    let mut key = wire::NetworkKey {
        bits: 8 + u32::from(bits),
        family: if address.is_ipv4() { 4 } else { 6 },
        address: [0; 16],
        reserved: [0; 3],
    };
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    for (to, from) in key.address.iter_mut().zip(octets) {
        *to = from;
    }
    // The kernel gives keys back as they were put in: bits that do not count must not differ.
    let mut rest = u32::from(bits);
    for byte in &mut key.address {
        let keep = rest.min(8);
        *byte &= u8::MAX.checked_shl(8 - keep).unwrap_or(0);
        rest -= keep;
    }
    wire::bytes_of(&key).to_vec()
}

/// The kernel's own encoding of a device, from that of `stat(2)`.
fn kernel_device(device: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (major < 1 << 12 && minor < 1 << 20).then_some(major << 20 | minor)
}

/// What a process is marked with. `None`: not enough is known of it.
fn mark(start_ns: Option<u64>, file: Option<(u64, u64)>) -> Option<wire::Mark> {
    let (ino, device) = file?;
    let start = start_ns? / TICK_NS;
    Some(wire::Mark { start, ino, dev: kernel_device(device)?, reserved: 0 })
}

fn identity(file: &FileObject) -> Option<(u64, u64)> {
    Some((file.inode?, file.device?))
}

/// Marks the processes that run excluded programs, as their execs, forks and exits pass.
#[derive(Default)]
pub struct Marker(Mutex<State>);

#[derive(Default)]
struct State {
    programs: Option<Programs>,
    marks: Option<Table>,
    /// What is in `marks`, by process.
    marked: HashMap<u32, wire::Mark>,
}

impl Marker {
    /// Takes over another map, or none, and other patterns, and marks the processes there are.
    pub fn set(&self, marks: Option<Table>, programs: Option<Programs>) {
        let mut state = self.0.lock();
        let old = std::mem::take(&mut state.marked);
        // The same map, perhaps, by another descriptor.
        for table in [&state.marks, &marks].into_iter().flatten() {
            old.keys().for_each(|pid| table.remove(&pid.to_ne_bytes()));
        }
        state.marks = marks;
        state.programs = programs;
        let Some(programs) = state.programs.clone().filter(|_| state.marks.is_some()) else {
            return;
        };
        for process in proc::scan() {
            if process.exe.as_deref().is_some_and(|path| programs(path)) {
                let stat = rustix::fs::stat(format!("/proc/{}/exe", process.pid)).ok();
                let file = stat.map(|stat| (stat.st_ino, stat.st_dev));
                state.put(process.pid, mark(Some(process.start_ns), file));
            }
        }
    }

    fn learn(&self, events: &[RawEvent]) {
        let mut state = self.0.lock();
        let Some(programs) = state.programs.clone().filter(|_| state.marks.is_some()) else {
            return;
        };
        for event in events {
            let pid = event.task.pid;
            match &event.body {
                Body::Exec(exec) => {
                    let is = exec.path.as_deref().is_some_and(|path| programs(path));
                    let file = exec.file.as_ref().and_then(identity).filter(|_| is);
                    state.put(pid, mark(event.task.start_ns, file));
                }
                Body::Fork(fork) => {
                    // It runs the same file, and began at another time.
                    let parent = state.marked.get(&pid).copied();
                    let child = fork.child_start_ns.zip(parent);
                    let child = child
                        .map(|(start_ns, mark)| wire::Mark { start: start_ns / TICK_NS, ..mark });
                    state.put(fork.child_pid, child);
                }
                Body::Exit(_) => state.put(pid, None),
                _ => {}
            }
        }
    }
}

impl State {
    /// Marks a process, or no longer.
    fn put(&mut self, pid: u32, mark: Option<wire::Mark>) {
        let Some(marks) = &self.marks else { return };
        let key = pid.to_ne_bytes();
        match mark {
            Some(mark) if self.marked.len() < MARKED_MAX || self.marked.contains_key(&pid) => {
                if marks.put(&key, wire::bytes_of(&mark)) {
                    self.marked.insert(pid, mark);
                }
            }
            _ => {
                if self.marked.remove(&pid).is_some() {
                    marks.remove(&key);
                }
            }
        }
    }
}

/// A sink that has a [`Marker`] see what passes.
pub struct Marking {
    /// Who marks.
    pub marker: Arc<Marker>,
    /// Where the events go.
    pub sink: Arc<dyn Sink>,
}

impl Sink for Marking {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        self.marker.learn(batch);
        self.sink.accept(batch);
    }
}

#[cfg(test)]
mod tests;
