//! Which access mode the content of a link shall have on this side.

use alloc::string::String;
use alloc::vec::Vec;

use switchback_model::{AccessMode, Content, Epoch, LinkId, Side, SystemId};

use crate::machine::Observed;
use crate::{Identity, Link, LinkState};

/// What a client that is refused is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Writer {
    /// The system that accepts writes; empty when none does or it is not known.
    pub domain: String,
    /// Neither side writes for now: try again rather than elsewhere.
    pub both_read_only: bool,
}

/// An access mode to be made durable at the mover.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Whose.
    pub link: LinkId,
    /// Its name.
    pub name: String,
    /// All of its contents.
    pub contents: Vec<Content>,
    /// The mode.
    pub mode: AccessMode,
    /// No commit of an older one may land afterwards.
    pub epoch: Epoch,
    /// Ours.
    pub side: Side,
    /// System id of the primary.
    pub primary: SystemId,
    /// System id of the replica.
    pub replica: SystemId,
    /// For refusals.
    pub writer: Writer,
}

/// The access this side shall have. Read-write needs all of: an epoch that names us and that
/// nothing higher has been heard of, a state in which our side is open, the peer heard (or waited
/// for) since the start, and a store that is the one the link knows.
pub(crate) fn desired(link: &Link, observed: &Observed, own: &Identity) -> Access {
    let shared = &link.shared;
    let open = match link.side {
        Side::Primary => shared.state == LinkState::Replicating,
        Side::Replica => matches!(shared.state, LinkState::FailedOver | LinkState::Recovering),
    };
    let writes = link.is_named() && open && observed.hold_until.is_none() && !observed.silent;
    let (primary, replica) = link.systems(own.system);
    Access {
        link: link.id,
        name: shared.name.clone(),
        contents: shared.contents.clone(),
        mode: if writes { AccessMode::ReadWrite } else { AccessMode::ReadOnly },
        // Our mover may have heard, from the peer's, of an epoch that we may not take by hearsay;
        // read-only as of that one is read-only as of ours.
        epoch: if writes { shared.epoch } else { shared.epoch.max(link.heard) },
        side: link.side,
        primary,
        replica,
        writer: if writes { Writer::default() } else { writer(link, own) },
    }
}

/// Whom a refused client is sent to.
fn writer(link: &Link, own: &Identity) -> Writer {
    let ours = link.shared.epoch.holder() == link.side;
    let closed = matches!(link.shared.state, LinkState::FailingOver | LinkState::Completing);
    if ours || closed {
        // Ours, but not open yet: soon we are, or both are read-only until the end of a recovery.
        return Writer { domain: String::new(), both_read_only: true };
    }
    debug_assert_ne!(link.peer.domain, own.domain);
    Writer { domain: link.peer.domain.clone(), both_read_only: false }
}
