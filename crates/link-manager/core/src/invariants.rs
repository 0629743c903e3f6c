//! What must hold of the durable state after every step.

use alloc::format;
use alloc::string::String;
use core::fmt;

use switchback_model::Side;

use crate::state::{Link, LinkState, State};

/// A broken invariant: a bug of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks every link, and that no content is on two.
///
/// # Errors
/// The first violation that is found.
pub fn check(state: &State) -> Result<(), Violation> {
    for link in state.links.values() {
        check_link(link)?;
        let twice =
            state.links.values().filter(|other| other.id != link.id).find(|other| {
                other.shared.contents.iter().any(|content| link.shared.contents.contains(content))
            });
        if let Some(other) = twice {
            return Err(Violation(format!(
                "links {} and {} share content",
                link.shared.name, other.shared.name
            )));
        }
    }
    Ok(())
}

fn check_link(link: &Link) -> Result<(), Violation> {
    let (epoch, state) = (link.shared.epoch, link.shared.state);
    let replicating = state == LinkState::Replicating;
    if replicating != (epoch.holder() == Side::Primary) {
        return Err(Violation(format!("link {} is {state} at epoch {epoch}", link.shared.name)));
    }
    if link.heard < epoch {
        return Err(Violation(format!(
            "link {} is at epoch {epoch} but has heard only of {}",
            link.shared.name, link.heard
        )));
    }
    Ok(())
}
