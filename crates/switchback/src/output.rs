//! What commands print: tables for people, JSON for scripts, and nothing when nobody reads it.

use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::client::Error;

/// The form of a command's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For scripts: keys in `snake_case`, ids in hexadecimal, times in Unix milliseconds. What
    /// repeats (`--watch`, `--follow`) is one line a time.
    Json,
}

/// Something a command answers with.
pub trait Show: Serialize {
    /// The form for people, ending in a line feed.
    fn show(&self) -> String;
}

impl Format {
    /// Prints one answer.
    pub fn print<T: Show>(self, answer: &T) {
        match self {
            Self::Table => emit(&answer.show()),
            Self::Json => emit(&(pretty(answer) + "\n")),
        }
    }

    /// Prints one of many answers: JSON takes one line each.
    pub fn print_one_of_many<T: Show>(self, answer: &T) {
        match self {
            Self::Table => emit(&answer.show()),
            Self::Json => emit(&(serde_json::to_string(answer).expect("our views are JSON") + "\n")),
        }
    }

    /// Prints, on standard error, why a command did not succeed.
    pub fn print_error(self, error: &anyhow::Error) {
        let text = match self {
            Self::Table => format!("error: {error:#}\n"),
            Self::Json => pretty(&failure(error)) + "\n",
        };
        // Nobody is left to be told when standard error is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn pretty<T: Serialize>(answer: &T) -> String {
    serde_json::to_string_pretty(answer).expect("our views are JSON: every key is a string")
}

/// `{"error": {"code", "reason", "message"}}`.
fn failure(error: &anyhow::Error) -> serde_json::Value {
    let (code, reason) = match error.downcast_ref::<Error>() {
        Some(Error::Refused { code, reason, .. }) => (code_name(*code), reason.as_str()),
        Some(Error::Unreachable { .. }) => ("unreachable", ""),
        Some(Error::Late { .. }) => ("late", ""),
        Some(Error::Setup(_)) => ("setup", ""),
        None => ("failed", ""),
    };
    serde_json::json!({ "error": { "code": code, "reason": reason, "message": format!("{error:#}") } })
}

fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// Writes to standard output. A reader that has gone (`| head`) ends the command quietly.
pub fn emit(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        std::process::exit(i32::from(error.kind() != ErrorKind::BrokenPipe));
    }
}

/// A table of rows under `head`; a line that says so when there are none.
#[must_use]
pub fn table(head: &[&str], rows: Vec<Vec<String>>, none: &str) -> String {
    if rows.is_empty() {
        return format!("{none}\n");
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Lines of `name  value`, the values in one column; pairs without a value are left out.
#[must_use]
pub fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}

/// `-` for nothing, so that a column is never empty.
#[must_use]
pub fn dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

/// `yes` or `no`.
#[must_use]
pub fn yes(flag: bool) -> String {
    if flag { "yes".into() } else { "no".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_reason_for_scripts_and_its_text_for_people() {
        let error = anyhow::Error::new(Error::Refused {
            code: tonic::Code::FailedPrecondition,
            reason: "CONTENT_ON_LINK".into(),
            message: "tenant acme is on link a; remove it from the link first".into(),
        });
        let json = failure(&error);
        assert_eq!(json["error"]["code"], "failed_precondition");
        assert_eq!(json["error"]["reason"], "CONTENT_ON_LINK");
        assert_eq!(format!("{error:#}"), "tenant acme is on link a; remove it from the link first");
    }

    #[test]
    fn tables_line_up_and_say_when_they_are_empty() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["longer".into(), "2".into()]];
        assert_eq!(table(&["name", "n"], rows, "none"), "NAME    N\na       1\nlonger  2\n");
        assert_eq!(table(&["name"], Vec::new(), "no links"), "no links\n");
    }
}
