//! What the tab key and the enter key do at the prompt.

use std::collections::BTreeSet;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::interactive::COMMANDS;

/// Words of SQL worth completing.
const SQL: [&str; 20] = [
    "SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "JOIN", "LEFT", "ON", "USING", "GROUP BY",
    "ORDER BY", "HAVING", "LIMIT", "LIKE", "GLOB", "DESC", "DISTINCT", "count(*)", "EXPLAIN",
];

/// Completes dot commands, tables, columns and words of SQL; reads on until `;`.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    pub(super) names: BTreeSet<String>,
}

impl Helper for Prompt {}
impl Highlighter for Prompt {}

impl Hinter for Prompt {
    type Hint = String;
}

impl Completer for Prompt {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        Ok(self.candidates(before))
    }
}

impl Prompt {
    /// Where the word under completion begins, and what it may become.
    pub(super) fn candidates(&self, before: &str) -> (usize, Vec<Pair>) {
        let of = |word: &str, words: &mut dyn Iterator<Item = &str>| {
            let lower = word.to_ascii_lowercase();
            words
                .filter(|known| known.to_ascii_lowercase().starts_with(&lower))
                .map(|known| Pair { display: known.to_owned(), replacement: known.to_owned() })
                .collect::<Vec<_>>()
        };
        if before.starts_with('.') && !before.contains(' ') {
            return (0, of(before, &mut COMMANDS.iter().map(|(command, _)| *command)));
        }
        let letter = |letter: char| letter.is_alphanumeric() || letter == '_';
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, found)| letter(*found))
            .last()
            .map_or(before.len(), |(index, _)| index);
        let word = before.get(start..).unwrap_or_default();
        if word.is_empty() {
            return (start, Vec::new());
        }
        let names = self.names.iter().map(String::as_str);
        if before.starts_with('.') {
            return (start, of(word, &mut names.into_iter()));
        }
        (start, of(word, &mut names.chain(SQL)))
    }
}

impl Validator for Prompt {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

/// Whether enter ends the input: it is empty, a dot command, or ends with `;` outside of quotes.
pub(super) fn is_complete(input: &str) -> bool {
    let text = input.trim();
    if text.is_empty() || text.starts_with('.') {
        return true;
    }
    let mut quote = None;
    for letter in text.chars() {
        match quote {
            None if matches!(letter, '\'' | '"' | '`') => quote = Some(letter),
            Some(open) if open == letter => quote = None,
            _ => {}
        }
    }
    quote.is_none() && text.ends_with(';')
}
