use super::*;

fn answer() -> Answer {
    Answer {
        columns: vec!["pid".to_owned(), "cmdline".to_owned()],
        rows: vec![
            vec![Cell::Integer(7), Cell::Text("a \"b\"".to_owned())],
            vec![Cell::Null, Cell::Text(String::new())],
            vec![Cell::Integer(1), Cell::Text("né|e".to_owned())],
        ],
        event_based: true,
    }
}

fn printed(answer: &Answer, mode: Mode) -> String {
    let mut out = Vec::new();
    print(answer, &Style { mode, ..Style::default() }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

// The expected texts are what osqueryi 5.x prints for
// SELECT 7 AS pid, 'a "b"' AS cmdline UNION ALL SELECT NULL, '' UNION ALL SELECT 1, 'né|e'
// by its sources printer.cpp and shell.cpp.

#[test]
fn pretty_draws_a_table_as_wide_as_its_widest_values() {
    assert_eq!(
        printed(&answer(), Mode::Pretty),
        "+-----+---------+\n\
         | pid | cmdline |\n\
         +-----+---------+\n\
         | 7   | a \"b\"   |\n\
         |     |         |\n\
         | 1   | né|e    |\n\
         +-----+---------+\n"
    );
}

#[test]
fn json_has_every_value_as_text_in_alphabetical_order() {
    assert_eq!(
        printed(&answer(), Mode::Json),
        "[\n  {\"cmdline\":\"a \\\"b\\\"\",\"pid\":\"7\"},\n  {\"cmdline\":\"\",\"pid\":\"\"},\n  \
         {\"cmdline\":\"né|e\",\"pid\":\"1\"}\n]\n"
    );
}

#[test]
fn csv_quotes_what_needs_it_and_tells_null_from_empty() {
    assert_eq!(
        printed(&answer(), Mode::Csv),
        "pid|cmdline\n7|\"a \"\"b\"\"\"\n|\"\"\n1|\"né|e\"\n"
    );
}

#[test]
fn list_separates_values_as_they_are() {
    assert_eq!(printed(&answer(), Mode::List), "pid|cmdline\n7|a \"b\"\n|\n1|né|e\n");
}

#[test]
fn line_has_a_value_a_line() {
    assert_eq!(
        printed(&answer(), Mode::Line),
        "    pid = 7\ncmdline = a \"b\"\n\n    pid = \ncmdline = \n\n    pid = 1\ncmdline = né|e\n"
    );
}

#[test]
fn no_rows_are_an_empty_list_in_json_and_nothing_elsewhere() {
    let empty = Answer { rows: Vec::new(), ..answer() };
    assert_eq!(printed(&empty, Mode::Json), "[\n\n]\n");
    for mode in [Mode::Pretty, Mode::Csv, Mode::Line, Mode::List] {
        assert_eq!(printed(&empty, mode), "");
    }
}
