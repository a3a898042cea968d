//! The one module that names libbpf.
//!
//! Opens an object from memory, sets it up, loads and attaches it, and reads what the kernel says
//! about it. Which programs, and what to do when one is refused, is for [`super::loader`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use libbpf_rs::btf::types::{Func, FuncProto, Ptr, Struct, Typedef};
use libbpf_rs::btf::{Btf, ReferencesType as _};
use libbpf_rs::{
    Link, MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, PerfEventOpts,
    PrintLevel, set_print,
};

use crate::wire;

/// What libbpf said while it failed: this many of its last lines are kept.
const LOG_LINES: usize = 12;

thread_local! {
    static LOG: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// What libbpf or the kernel refused, with the last of what they said about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Refused {
    /// The object, program or map, and what was attempted.
    pub what: String,
    /// The errno's text, and the line of libbpf's log that explains it.
    pub why: String,
}

impl Refused {
    fn new(what: impl Into<String>, error: &libbpf_rs::Error) -> Self {
        let mut why = format!("{error:#}");
        if let Some(line) = telling_line() {
            why = format!("{why} ({line})");
        }
        Self { what: what.into(), why }
    }
}

/// Sends libbpf's messages to `log`, and never to stderr.
pub fn route_messages() {
    set_print(Some((PrintLevel::Debug, |level, text| {
        let line = text.trim_end();
        log::debug!(target: "libbpf", "{line}");
        #[cfg(test)]
        verified::listen(line);
        if level == PrintLevel::Warn {
            LOG.with_borrow_mut(|kept| {
                if kept.len() == LOG_LINES {
                    kept.pop_front();
                }
                kept.push_back(line.to_owned());
            });
        }
    })));
}

fn forget_messages() {
    LOG.with_borrow_mut(VecDeque::clear);
}

/// The line that says most: the verifier's last word about a program, else libbpf's first warning.
fn telling_line() -> Option<String> {
    LOG.with_borrow(|kept| {
        let lines = || kept.iter().flat_map(|text| text.lines());
        let bookkeeping = ["processed ", "-- ", "verification time ", "stack depth "];
        let verdict =
            kept.iter().find(|text| text.contains("BEGIN PROG LOAD LOG")).and_then(|text| {
                let mut words = text.lines().filter(|line| {
                    !line.is_empty() && !bookkeeping.iter().any(|start| line.starts_with(start))
                });
                words.next_back()
            });
        verdict.or_else(|| lines().next()).map(str::to_owned)
    })
}

/// An object that was read but not yet given to the kernel.
pub struct Opened {
    name: &'static str,
    object: OpenObject,
}

impl Opened {
    /// Reads an object file from memory.
    ///
    /// # Errors
    /// [`Refused`]: the file is none, which only a broken build brings about.
    pub fn new(name: &'static str, bytes: &[u8]) -> Result<Self, Refused> {
        forget_messages();
        let object = ObjectBuilder::default()
            .open_memory(bytes)
            .map_err(|error| Refused::new(format!("open {name}"), &error))?;
        Ok(Self { name, object })
    }

    /// Chooses the programs to load; all others are left out.
    pub fn choose(&mut self, programs: &[&str]) {
        for mut program in self.object.progs_mut() {
            let chosen = program.name().to_str().is_some_and(|name| programs.contains(&name));
            program.set_autoload(chosen);
        }
    }

    /// Uses the maps of an object that is loaded already, its constants included, in place of maps
    /// of its own.
    ///
    /// # Errors
    /// [`Refused`]: the two are not made alike.
    pub fn share(&mut self, with: &Loaded) -> Result<(), Refused> {
        for mut map in self.object.maps_mut() {
            let what = format!("{}: share map {}", self.name, map.name().display());
            let theirs = with.object.maps().find(|theirs| theirs.name() == map.name());
            let theirs = theirs.ok_or_else(|| Refused {
                what: what.clone(),
                why: "there is none to share".to_owned(),
            })?;
            map.reuse_fd(theirs.as_fd()).map_err(|error| Refused::new(what, &error))?;
        }
        Ok(())
    }

    /// Sets the constant in section `.rodata.config`.
    ///
    /// # Errors
    /// [`Refused`]: the object has no such section.
    pub fn configure(&mut self, config: &wire::Config) -> Result<(), Refused> {
        let refused = |why: String| Refused { what: format!("{}: .rodata.config", self.name), why };
        let bytes = wire::bytes_of(config);
        let mut maps = self.object.maps_mut();
        let mut map = maps
            .find(|map| map.name().to_str().is_some_and(|name| name.ends_with(".rodata.config")))
            .ok_or_else(|| refused("there is none".to_owned()))?;
        let value =
            map.initial_value_mut().ok_or_else(|| refused("it has no initial value".to_owned()))?;
        let room = value.len();
        value
            .get_mut(..bytes.len())
            .ok_or_else(|| refused(format!("{room} bytes do not hold {}", size_of_val(config))))?
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Sets how many entries a map has; for a ring, bytes.
    ///
    /// # Errors
    /// [`Refused`]: the object has no such map.
    pub fn resize(&mut self, map: &str, entries: u32) -> Result<(), Refused> {
        let what = format!("{}: map {map}", self.name);
        let mut maps = self.object.maps_mut();
        let mut map = maps
            .find(|candidate| candidate.name() == map)
            .ok_or_else(|| Refused { what: what.clone(), why: "there is none".to_owned() })?;
        map.set_max_entries(entries).map_err(|error| Refused::new(what, &error))
    }

    /// Creates the maps and loads the chosen programs: all of them, or none.
    ///
    /// # Errors
    /// [`Refused`] with what the verifier said.
    pub fn load(self) -> Result<Loaded, Refused> {
        forget_messages();
        let name = self.name;
        let object =
            self.object.load().map_err(|error| Refused::new(format!("load {name}"), &error))?;
        Ok(Loaded { name, object })
    }
}

/// An object in the kernel. Its programs run only while they are attached.
pub struct Loaded {
    name: &'static str,
    object: Object,
}

/// What keeps a program attached.
pub struct Attached {
    _link: Link,
}

impl Loaded {
    /// Attaches a program to what its section names.
    ///
    /// # Errors
    /// [`Refused`] by the kernel.
    pub fn attach(&self, program: &str) -> Result<Attached, Refused> {
        forget_messages();
        let what = format!("attach {program}");
        let program = self.program(program, &what)?;
        let link = program.attach().map_err(|error| Refused::new(what, &error))?;
        Ok(Attached { _link: link })
    }

    /// Attaches a program to a perf event, which then lives as long as the link.
    ///
    /// # Errors
    /// [`Refused`] by the kernel.
    pub fn attach_perf_event(&self, program: &str, event: OwnedFd) -> Result<Attached, Refused> {
        forget_messages();
        let what = format!("attach {program}");
        let program = self.program(program, &what)?;
        let link = program
            .attach_perf_event_with_opts(event.as_raw_fd(), PerfEventOpts::default())
            .map_err(|error| Refused::new(what, &error))?;
        // The link closes it when it is destroyed.
        let _ = event.into_raw_fd();
        Ok(Attached { _link: link })
    }

    fn program(&self, name: &str, what: &str) -> Result<libbpf_rs::ProgramMut<'_>, Refused> {
        self.object.progs_mut().find(|program| program.name() == name).ok_or_else(|| Refused {
            what: what.to_owned(),
            why: format!("{} has no such program", self.name),
        })
    }

    /// A descriptor of a map.
    ///
    /// # Errors
    /// [`Refused`]: there is no such map, or no descriptor left.
    pub fn map_fd(&self, name: &str) -> Result<OwnedFd, Refused> {
        let what = format!("{}: map {name}", self.name);
        let map = self
            .object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| Refused { what: what.clone(), why: "there is none".to_owned() })?;
        map.as_fd().try_clone_to_owned().map_err(|error| Refused { what, why: error.to_string() })
    }

    /// Writes the only entry of the map `switches`.
    ///
    /// # Errors
    /// [`Refused`]: there is no such map, or its entry has another size.
    pub fn set_switches(&self, value: &[u8]) -> Result<(), Refused> {
        let what = format!("{}: map switches", self.name);
        let map = self
            .object
            .maps()
            .find(|map| map.name() == "switches")
            .ok_or_else(|| Refused { what: what.clone(), why: "there is none".to_owned() })?;
        map.update(&0u32.to_ne_bytes(), value, MapFlags::ANY)
            .map_err(|error| Refused::new(what, &error))
    }

    /// A map whose entries are ours to put in. `None`: the object has none of that name.
    ///
    /// # Errors
    /// [`Refused`]: no descriptor is left.
    pub fn table(&self, name: &str) -> Result<Option<Table>, Refused> {
        let Some(map) = self.object.maps().find(|map| map.name() == name) else { return Ok(None) };
        let what = format!("{}: map {name}", self.name);
        let map = MapHandle::try_from(&map).map_err(|error| Refused::new(what, &error))?;
        Ok(Some(Table { map }))
    }

    /// How often the kernel skipped a program because it was running already. 0 where the kernel
    /// does not say (before 5.12).
    pub fn misses(&self, program: &str) -> u64 {
        let found = self.object.progs().find(|candidate| candidate.name() == program);
        found
            .and_then(|program| program_info(program.as_fd()))
            .map_or(0, |info| info.recursion_misses)
    }
}

fn program_info(fd: BorrowedFd<'_>) -> Option<libbpf_sys::bpf_prog_info> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = u32::try_from(size_of_val(&info)).ok()?;
    // SAFETY: `info` is as long as `length` says, and all zeroes asks for none of the arrays.
    let failed = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(fd.as_raw_fd(), &raw mut info, &raw mut length)
    };
    (failed == 0).then_some(info)
}

/// A hash or trie that user space fills and programs only read.
pub struct Table {
    map: MapHandle,
}

impl Table {
    /// Puts an entry in. False: there is no room.
    pub fn put(&self, key: &[u8], value: &[u8]) -> bool {
        self.map.update(key, value, MapFlags::ANY).is_ok()
    }

    /// Takes an entry out, if it is there.
    pub fn remove(&self, key: &[u8]) {
        // That it is not there is as good.
        let _ = self.map.delete(key);
    }

    /// Has exactly these keys in, each with the value 1, as far as there is room. What stays is
    /// never out in between. Gives how many found no room.
    pub fn hold(&self, keys: &[Vec<u8>]) -> usize {
        let gone: Vec<Vec<u8>> = self.map.keys().filter(|key| !keys.contains(key)).collect();
        gone.iter().for_each(|key| self.remove(key));
        keys.iter().filter(|key| !self.put(key, &[1])).count()
    }
}

/// The running kernel's own types.
pub struct KernelTypes {
    btf: Btf<'static>,
}

impl KernelTypes {
    /// Reads `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// [`Refused`]: the kernel was built without, or the file is out of reach.
    pub fn read() -> Result<Self, Refused> {
        forget_messages();
        Btf::from_vmlinux()
            .map(|btf| Self { btf })
            .map_err(|error| Refused::new("/sys/kernel/btf/vmlinux", &error))
    }

    /// How many arguments a BTF tracepoint has. `None`: there is no such tracepoint.
    pub fn tracepoint_args(&self, name: &str) -> Option<usize> {
        let typedef: Typedef<'_> = self.btf.type_by_name(&format!("btf_trace_{name}"))?;
        let pointer = Ptr::try_from(typedef.referenced_type()).ok()?;
        let function = FuncProto::try_from(pointer.referenced_type()).ok()?;
        // The first is the tracepoint's own data.
        function.iter().count().checked_sub(1)
    }

    /// How many arguments a function has. `None`: there is none of this name.
    pub fn function_args(&self, name: &str) -> Option<usize> {
        let function: Func<'_> = self.btf.type_by_name(name)?;
        let prototype = FuncProto::try_from(function.referenced_type()).ok()?;
        Some(prototype.iter().count())
    }

    /// Whether there is a struct of this name.
    pub fn has_struct(&self, name: &str) -> bool {
        self.btf.type_by_name::<Struct<'_>>(name).is_some()
    }
}

/// The object's bytes, aligned as libelf wants them.
#[repr(C, align(8))]
pub struct Aligned<T: ?Sized>(pub T);

/// How many instructions the kernel looked at before it took a program. bpf_prog_info has it from
/// 5.16; the verifier's log has it on every kernel.
#[cfg(test)]
pub mod verified {
    use std::cell::Cell;

    use super::{Opened, Refused};

    /// `BPF_LOG_STATS`.
    const STATISTICS: u32 = 4;

    thread_local! {
        static LAST: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Takes the number out of the verifier's `processed N insns (limit …`.
    pub(super) fn listen(text: &str) {
        let number = text.lines().find_map(|line| {
            line.strip_prefix("processed ")?.split_once(" insns (")?.0.parse().ok()
        });
        if number.is_some() {
            LAST.set(number);
        }
    }

    /// Loads the one program that `opened` has been left, and says how much of it was looked at.
    ///
    /// # Errors
    /// As for [`Opened::load`].
    pub fn instructions(mut opened: Opened) -> Result<Option<u32>, Refused> {
        LAST.set(None);
        for mut program in opened.object.progs_mut() {
            program.set_log_level(STATISTICS);
        }
        opened.load().map(|_| LAST.get())
    }
}
