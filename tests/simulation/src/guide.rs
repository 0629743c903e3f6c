//! What an operator does who follows what a system says: the next step that its status names, else what
//! a trouble names, and after a refusal what that names.

use crate::plan::Command;

/// What to do next at one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// `certificate renew --new-incarnation`.
    NewIncarnation,
    /// A command about the link.
    Give(Command),
}

/// What a system asks for whose status names `next_step` and `troubles`; `is_paused` when a content of
/// the link is.
#[must_use]
pub fn advice(next_step: &str, troubles: &str, is_paused: bool) -> Option<Advice> {
    if next_step.contains("certificate renew --new-incarnation") {
        return Some(Advice::NewIncarnation);
    }
    if is_paused {
        return Some(Advice::Give(Command::Unpause));
    }
    // The next step, else the first command that a trouble names.
    named(next_step).or_else(|| commands(troubles).find_map(named)).map(Advice::Give)
}

/// The command that `refusal`, the answer to `given`, names to be given first.
#[must_use]
pub fn instead(refusal: &str, given: Command) -> Option<Command> {
    commands(refusal).find_map(named).filter(|next| *next != given)
}

/// What stands between backticks in `text`.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The command of the CLI that `text` is, if the link's operator gives it here.
fn named(text: &str) -> Option<Command> {
    let mut words = text.split_whitespace().skip_while(|word| *word == "switchback");
    Some(match (words.next()?, words.next()?) {
        ("link", "restore") => Command::Restore,
        ("link", "resume") => Command::Resume,
        ("link", "declare-lost") => Command::DeclareLost,
        ("link", "fail-over") if text.contains("--accept-loss") => Command::FailOverAcceptingLoss,
        ("link", "fail-over") => Command::FailOver,
        ("link", "recovery") if text.contains("begin") => Command::BeginRecovery,
        ("link", "recovery") if text.contains("complete") => Command::CompleteRecovery,
        _ => return None,
    })
}
