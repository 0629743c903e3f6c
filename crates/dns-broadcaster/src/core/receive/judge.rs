//! Whether an update may do what it would.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Changes, Code, Grants, Update, demand, edit};
use crate::core::name::Name;
use crate::core::record::Kind;
use crate::core::zone::Zone;

/// Why an update is not carried out, and what its answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the client.
    pub code: Code,
    /// For the log.
    pub reason: Reason,
}

/// Why an update is not carried out, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Reason {
    #[error("the zone is not as the update demands")]
    Demand,
    #[error("the update is malformed (RFC 2136 section 3)")]
    Malformed,
    #[error("a name lies outside the zone {0}")]
    Outside(Name),
    #[error("{0} is no zone of this server's; send the update to the server that masters it")]
    NoZone(Name),
    #[error(
        "{0} is the zone of a tenant, which two systems answer alike under one serial: nothing can be added there, no record, alias or delegation; prove names by HTTP, or put a record at a name of your own that leads to the tenant"
    )]
    TenantZone(Name),
    #[error("{0} takes no updates here: it follows something else, and is changed there")]
    Closed(Name),
    #[error("nothing in {0} is granted to this key; see updaters in [dns_broadcaster]")]
    NothingGranted(Name),
    #[error("{owner} belongs to the zone {zone}; send the update for that one")]
    OtherZone { owner: Name, zone: Name },
    #[error("{owner} {kind} is not granted to this key; see updaters in [dns_broadcaster]")]
    NotGranted { owner: Name, kind: Kind },
    #[error("{owner} {kind} is said by {file}; change it there, or leave it out there")]
    Said { owner: Name, kind: Kind, file: String },
    #[error("{owner} {kind} is published by this system")]
    Published { owner: Name, kind: Kind },
    #[error("{owner} {kind}: records of this type are not taken")]
    NotServed { owner: Name, kind: Kind },
    #[error(transparent)]
    TooMany(#[from] super::TooMany),
    #[error("this key has sent more updates in the last minutes than are remembered; wait, and send fewer")]
    TooOften,
}

/// Who says a set that is served, beside who takes updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A zone file.
    File(String),
    /// The system.
    System,
}

impl Refusal {
    /// With this reason, REFUSED.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        Self { code: Code::Refused, reason }
    }

    fn with(code: Code, zone: &Zone) -> Self {
        let reason = match code {
            Code::FormErr => Reason::Malformed,
            Code::NotZone => Reason::Outside(zone.origin().clone()),
            _ => Reason::Demand,
        };
        Self { code, reason }
    }
}

/// What `update`, which the holder of `key` has sent, changes in `zone`, its signatures aside.
///
/// `other_zone` says which zone of this server's a name lies in, if it is another one; `holder` who says a
/// set, if that is not the operator by update.
///
/// # Errors
/// It must not be carried out.
pub fn decide(
    zone: &Zone,
    update: &Update,
    (grants, key): (&Grants, &Name),
    other_zone: impl Fn(&Name) -> Option<Name>,
    holder: impl Fn(&Name, Kind) -> Option<Holder>,
) -> Result<Changes, Refusal> {
    let origin = zone.origin();
    demand::check(zone, &update.demands).map_err(|code| Refusal::with(code, zone))?;
    edit::prescan(zone, &update.edits).map_err(|code| Refusal::with(code, zone))?;
    let not_granted = |owner: &Name, kind| Reason::NotGranted { owner: owner.clone(), kind };
    for edit in &update.edits {
        let (owner, kind) = (&edit.owner, edit.kind);
        if let Some(zone) = other_zone(owner) {
            return Err(Refusal::of(Reason::OtherZone { owner: owner.clone(), zone }));
        }
        if !grants.allow(key, origin, owner, kind) {
            return Err(Refusal::of(not_granted(owner, kind)));
        }
        if kind != Kind::ANY && !kind.is_operators() {
            return Err(Refusal::of(Reason::NotServed { owner: owner.clone(), kind }));
        }
    }
    let changes = edit::outcome(zone, &update.edits);
    let changed: Vec<_> =
        changes.iter().flat_map(|(owner, sets)| sets.keys().map(move |kind| (owner, *kind))).collect();
    for (owner, kind) in changed {
        // Those that go with all others of the name.
        if !grants.allow(key, origin, owner, kind) {
            return Err(Refusal::of(not_granted(owner, kind)));
        }
        let owner = owner.clone();
        match holder(&owner, kind) {
            None => {}
            Some(Holder::File(file)) => return Err(Refusal::of(Reason::Said { owner, kind, file })),
            Some(Holder::System) => return Err(Refusal::of(Reason::Published { owner, kind })),
        }
    }
    Ok(changes)
}
