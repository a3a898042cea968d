//! Finding the rows that answer a request, and reading them.
//!
//! Owns the search: segments are passed over by sequence number and time, rows by their keys, and
//! what is left is held against every condition. It works on a snapshot and holds no lock.

use std::cell::RefCell;
use std::ops::Range;

use crate::column::{Cell, Context, Definition, Key, Part, Spec, View};
use crate::constraint::{Number, Test, equal};
use crate::identity::ProcessId;
use crate::pool::Text;
use crate::record::Record;
use crate::scan::{Constraint, Op, Request, Scan, ScanError};
use crate::segment::Segment;
use crate::store::Snapshot;

/// The answer to a request on a table of events.
pub struct Rows<R: Record> {
    definition: &'static Definition<R>,
    snapshot: Snapshot<R>,
    hits: Vec<Hit>,
    columns: Vec<usize>,
    context: Context,
    buffer: RefCell<String>,
}

#[derive(Debug, Clone, Copy)]
struct Hit {
    segment: u32,
    index: u32,
    part: Part,
}

/// What the conditions say of the keys: rows outside cannot be wanted.
#[derive(Debug)]
struct Bounds {
    seqs: Range<u64>,
    times: (i64, i64),
    by: By,
}

/// The key to search by.
#[derive(Debug)]
enum By {
    All,
    Pid(u32),
    Parent(u32),
    ProcessId(u64),
    Path(String),
}

/// Checks that every column of a request exists, and gives those to build, in order.
///
/// # Errors
/// [`ScanError::NoSuchColumn`].
pub fn requested(
    table: &'static str,
    count: usize,
    request: &Request,
) -> Result<Vec<usize>, ScanError> {
    let named = request.constraints.iter().map(|constraint| constraint.column);
    let named = named.chain(request.columns.iter().flatten().copied());
    for column in named {
        if column >= count {
            return Err(ScanError::NoSuchColumn { table, column });
        }
    }
    let mut columns = request.columns.clone().unwrap_or_else(|| (0..count).collect());
    columns.sort_unstable();
    columns.dedup();
    Ok(columns)
}

impl<R: Record> Rows<R> {
    /// Searches a snapshot.
    ///
    /// # Errors
    /// [`ScanError::NoSuchColumn`].
    pub fn select(
        definition: &'static Definition<R>,
        snapshot: Snapshot<R>,
        request: &Request,
        context: Context,
    ) -> Result<Self, ScanError> {
        let specs = definition.specs;
        let columns = requested(definition.table.name, specs.len(), request)?;
        let tests: Vec<(Test, &Spec<R>)> = request
            .constraints
            .iter()
            .filter_map(|constraint| {
                let spec = specs.get(constraint.column).filter(|spec| !spec.costly)?;
                Some((Test::new(constraint, spec.column.ty)?, spec))
            })
            .collect();
        let bounds = Bounds::new(specs, &request.constraints, &snapshot);
        let buffer = RefCell::new(String::new());
        let mut rows = Self { definition, snapshot, hits: Vec::new(), columns, context, buffer };
        rows.search(&bounds, &tests);
        Ok(rows)
    }

    fn search(&mut self, bounds: &Bounds, tests: &[(Test, &Spec<R>)]) {
        let mut hits = Vec::new();
        let mut buffer = String::new();
        for (number, segment) in (0_u32..).zip(self.snapshot.segments.iter()) {
            let (earliest, latest) = segment.time_range();
            if latest < bounds.times.0 || earliest > bounds.times.1 {
                continue;
            }
            let range =
                segment.lower_bound(bounds.seqs.start)..segment.lower_bound(bounds.seqs.end);
            bounds.by.candidates(segment, range, |index| {
                let Some((record, keys)) = segment.record(index).zip(segment.keys(index)) else {
                    return;
                };
                for &part in (self.definition.parts)(record) {
                    let context = &self.context;
                    let view = View { segment, index, record, keys, part, context };
                    let kept = tests.iter().all(|(test, spec)| {
                        buffer.clear();
                        let cell = (spec.cell)(&view, &mut buffer);
                        test.keeps(cell, &buffer)
                    });
                    if let (true, Ok(index)) = (kept, u32::try_from(index)) {
                        hits.push(Hit { segment: number, index, part });
                    }
                }
            });
        }
        self.hits = hits;
    }
}

impl Bounds {
    fn new<R: Record>(
        specs: &[Spec<R>],
        constraints: &[Constraint],
        snapshot: &Snapshot<R>,
    ) -> Self {
        let window = snapshot.window;
        let mut bounds =
            Self { seqs: window.from..window.to, times: (i64::MIN, i64::MAX), by: By::All };
        for constraint in constraints {
            let Some(spec) = specs.get(constraint.column) else { continue };
            let (op, value) = (constraint.op, constraint.value.as_str());
            match spec.key {
                Key::None => {}
                Key::Time => bounds.limit_time(op, value),
                Key::Eid => bounds.limit_eid(op, value),
                key if op == Op::Eq => bounds.search_by(key, value),
                _ => {}
            }
        }
        bounds
    }

    fn search_by(&mut self, key: Key, value: &str) {
        let number = || match Number::parse(value) {
            Number::Int(number) => u32::try_from(number).ok(),
            // Not a whole number: the conditions themselves decide.
            _ => None,
        };
        let found = match key {
            Key::Pid => number().map(By::Pid),
            Key::Parent => number().map(By::Parent),
            Key::ProcessId => ProcessId::parse(value).map(|id| By::ProcessId(id.0)),
            Key::Path if !value.is_empty() => Some(By::Path(value.to_owned())),
            _ => None,
        };
        let better = |by: &By| match by {
            By::ProcessId(_) => 0,
            By::Pid(_) => 1,
            By::Parent(_) => 2,
            By::Path(_) => 3,
            By::All => 4,
        };
        if let Some(found) = found
            && better(&found) < better(&self.by)
        {
            self.by = found;
        }
    }

    fn limit_time(&mut self, op: Op, value: &str) {
        let Number::Int(value) = Number::parse(value) else { return };
        let (low, high) = self.times;
        self.times = match op {
            Op::Eq => (low.max(value), high.min(value)),
            Op::Ge => (low.max(value), high),
            Op::Gt => (low.max(value.saturating_add(1)), high),
            Op::Le => (low, high.min(value)),
            Op::Lt => (low, high.min(value.saturating_sub(1))),
            _ => (low, high),
        };
    }

    /// Ten digits on both sides compare as numbers do. A rename's second row has the number after
    /// its record's, so one more is let in at the low end; the conditions sort it out.
    fn limit_eid(&mut self, op: Op, value: &str) {
        let ten_digits = value.len() == 10 && value.bytes().all(|byte| byte.is_ascii_digit());
        let short = self.seqs.end <= 10_000_000_000;
        let Some(value) = value.parse::<u64>().ok().filter(|_| ten_digits && short) else { return };
        let Range { start, end } = &mut self.seqs;
        match op {
            Op::Eq => {
                *start = (*start).max(value.saturating_sub(1));
                *end = (*end).min(value.saturating_add(1));
            }
            Op::Ge | Op::Gt => *start = (*start).max(value.saturating_sub(1)),
            Op::Le | Op::Lt => *end = (*end).min(value.saturating_add(1)),
            _ => {}
        }
        *end = (*end).max(*start);
    }
}

impl By {
    fn candidates<R: Record>(
        &self,
        segment: &Segment<R>,
        range: Range<usize>,
        mut take: impl FnMut(usize),
    ) {
        match self {
            Self::All => range.for_each(take),
            Self::Pid(pid) => equals(segment.pids(), range, pid, take),
            Self::Parent(parent) => equals(segment.parents(), range, parent, take),
            Self::ProcessId(id) => equals(segment.process_ids(), range, id, take),
            Self::Path(path) => {
                let texts = same_paths(segment, path);
                for (index, text) in within(segment.paths(), range) {
                    if texts.contains(text) {
                        take(index);
                    }
                }
            }
        }
    }
}

fn within<T>(column: &[T], range: Range<usize>) -> impl Iterator<Item = (usize, &T)> {
    let start = range.start;
    column.get(range).unwrap_or_default().iter().enumerate().map(move |(n, v)| (start + n, v))
}

fn equals<T: PartialEq>(
    column: &[T],
    range: Range<usize>,
    wanted: &T,
    mut take: impl FnMut(usize),
) {
    for (index, value) in within(column, range) {
        if value == wanted {
            take(index);
        }
    }
}

/// The strings of a segment that a path may equal under some collation.
fn same_paths<R: Record>(segment: &Segment<R>, path: &str) -> Vec<Text> {
    let wanted = path.trim_end_matches(' ').as_bytes();
    // Only bytes that are written as escapes are longer in a row than in the pool.
    let escapes = path.contains("\\x");
    let mut written = String::new();
    let mut same = |bytes: &[u8]| {
        if bytes.len() < wanted.len() && !escapes {
            return false;
        }
        let blanks = bytes.iter().rev().take_while(|&&byte| byte == b' ').count();
        let trimmed = bytes.get(..bytes.len().saturating_sub(blanks)).unwrap_or_default();
        if escapes && trimmed.len() < wanted.len() {
            written.clear();
            crate::text::push_bytes(&mut written, bytes);
            return equal(&written, path);
        }
        trimmed.eq_ignore_ascii_case(wanted)
    };
    segment.pool.iter().filter(|(_, bytes)| same(bytes)).map(|(text, _)| text).collect()
}

impl<R: Record> Rows<R> {
    fn view(&self, index: usize) -> Option<View<'_, R>> {
        let hit = self.hits.get(index)?;
        let segment = self.snapshot.segments.get(hit.segment as usize)?;
        let (index, part, context) = (hit.index as usize, hit.part, &self.context);
        let (record, keys) = segment.record(index).zip(segment.keys(index))?;
        Some(View { segment, index, record, keys, part, context })
    }
}

impl<R: Record> Scan for Rows<R> {
    fn len(&self) -> usize {
        self.hits.len()
    }

    fn rowid(&self, index: usize) -> Option<i64> {
        i64::try_from(self.view(index)?.event_id()).ok()
    }

    fn row(&self, index: usize, value: &mut dyn FnMut(&'static str, &str)) {
        let Some(view) = self.view(index) else { return };
        let mut buffer = self.buffer.borrow_mut();
        for spec in self.columns.iter().filter_map(|&column| self.definition.specs.get(column)) {
            buffer.clear();
            match (spec.cell)(&view, &mut buffer) {
                Cell::Unknown => {}
                Cell::Int(number) => value(spec.column.name, itoa::Buffer::new().format(number)),
                Cell::Text => value(spec.column.name, &buffer),
            }
        }
    }
}
