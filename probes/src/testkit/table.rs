//! What a workload says it did, beside what was seen of it, printed as a table.
//!
//! `tests/vm/table.sh` makes the table in the README of what is printed here.

/// Something that happened: what, and the fields that are known of it.
#[derive(Debug, Clone)]
pub struct Happening {
    pub kind: &'static str,
    pub fields: Vec<(&'static str, String)>,
}

/// A happening whose fields are named expressions.
macro_rules! happening {
    ($kind:expr $(, $field:ident = $value:expr)* $(,)?) => {
        $crate::testkit::table::Happening {
            kind: $kind,
            fields: vec![$((stringify!($field), format!("{:?}", $value))),*],
        }
    };
}
pub(crate) use happening;

/// The table, one step of the workload a row.
pub struct Table {
    title: &'static str,
    lines: Vec<String>,
    /// Which fields each step was compared by.
    fields: Vec<String>,
    faults: Vec<String>,
}

impl Table {
    pub fn new(title: &'static str) -> Self {
        Self { title, lines: Vec::new(), fields: Vec::new(), faults: Vec::new() }
    }

    /// Compares what one step did with what was seen of it. Of what was seen, only the fields that
    /// are expected count; an event more or less is a fault, too.
    pub fn row(&mut self, step: &str, expected: &[Happening], mut seen: Vec<Happening>) {
        let total = seen.len();
        let mut names: Vec<_> =
            expected.iter().flat_map(|event| &event.fields).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        self.fields.push(format!("{step:<44} {}", names.join(" ")));
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        for wanted in expected {
            let mut best: Option<(usize, Vec<String>)> = None;
            for (at, event) in seen.iter().enumerate().filter(|(_, one)| one.kind == wanted.kind) {
                let differences = differences(wanted, event);
                if best.as_ref().is_none_or(|(_, other)| differences.len() < other.len()) {
                    best = Some((at, differences));
                }
            }
            match best {
                Some((at, differences)) => {
                    wrong.extend(differences);
                    seen.remove(at);
                }
                None => missing.push(wanted.kind),
            }
        }
        let extra: Vec<_> = seen.iter().map(|event| event.kind).collect();
        let said = |list: &[&str]| if list.is_empty() { "-".to_owned() } else { list.join(" ") };
        let wrong = if wrong.is_empty() { "-".to_owned() } else { wrong.join("; ") };
        let (missing, extra) = (said(&missing), said(&extra));
        let counts = format!("{step:<44} {:>8} {total:>5}", expected.len());
        let line = format!("{counts}  {missing:<10} {extra:<10} {wrong}");
        if [&missing, &extra, &wrong].iter().any(|part| *part != "-") {
            self.faults.push(line.clone());
        }
        self.lines.push(line);
    }

    /// Prints it, and fails if there was any difference.
    pub fn finish(self) {
        let heading = ("expected", "seen", "missing", "extra", "wrong field");
        let (a, b, c, d, e) = heading;
        println!("::table {:<44} {a:>8} {b:>5}  {c:<10} {d:<10} {e}", self.title);
        for line in &self.lines {
            println!("::row {line}");
        }
        for line in &self.fields {
            println!("::fields {line}");
        }
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
    }
}

fn differences(wanted: &Happening, event: &Happening) -> Vec<String> {
    let value = |name: &str| {
        let found = event.fields.iter().find(|(field, _)| *field == name);
        found.map_or("not there", |(_, value)| value)
    };
    let differing = wanted.fields.iter().filter(|(name, expected)| value(name) != expected);
    differing
        .map(|(name, expected)| {
            format!("{}.{name} is {}, not {expected}", wanted.kind, value(name))
        })
        .collect()
}

#[test]
fn an_event_more_or_less_or_other_than_it_was_is_a_fault() {
    let done = |fd: i32| happening!("connect", fd = fd);
    let faults = |expected: &[Happening], seen: Vec<Happening>| {
        let mut table = Table::new("test");
        table.row("step", expected, seen);
        table.faults.len()
    };
    assert_eq!(faults(&[done(1), done(2)], vec![done(2), done(1)]), 0);
    assert_eq!(faults(&[done(1)], vec![]), 1);
    assert_eq!(faults(&[], vec![done(1)]), 1);
    assert_eq!(faults(&[done(1)], vec![done(2)]), 1);
    assert_eq!(faults(&[done(1)], vec![happening!("bind", fd = 1)]), 1);
    assert_eq!(faults(&[happening!("connect")], vec![done(1)]), 0);
}
