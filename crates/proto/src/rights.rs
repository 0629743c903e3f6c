//! What a credential may do, between the wire and the vocabulary. Here, since three crates speak of it by
//! [`crate::store::v1`].

use switchback_model as model;

use crate::store::v1 as wire;

/// Absence is everything. A right that this program does not know is left out: it is not held.
pub fn from_wire(rights: Option<wire::Rights>) -> model::Rights {
    let Some(rights) = rights else { return model::Rights::All };
    let grant = |grant: wire::Grant| model::Grant {
        rights: grant.rights().filter_map(right_from_wire).collect(),
        namespaces: grant.namespaces,
    };
    model::Rights::Granted(rights.grants.into_iter().map(grant).collect())
}

/// For the wire.
pub fn to_wire(rights: &model::Rights) -> Option<wire::Rights> {
    let grant = |grant: &model::Grant| wire::Grant {
        namespaces: grant.namespaces.clone(),
        rights: grant.rights.iter().map(|right| right_to_wire(*right).into()).collect(),
    };
    match rights {
        model::Rights::All => None,
        model::Rights::Granted(grants) => Some(wire::Rights { grants: grants.iter().map(grant).collect() }),
    }
}

fn right_from_wire(right: wire::Right) -> Option<model::Right> {
    match right {
        wire::Right::Read => Some(model::Right::Read),
        wire::Right::Write => Some(model::Right::Write),
        wire::Right::Delete => Some(model::Right::Delete),
        wire::Right::Administer => Some(model::Right::Administer),
        wire::Right::Unspecified => None,
    }
}

fn right_to_wire(right: model::Right) -> wire::Right {
    match right {
        model::Right::Read => wire::Right::Read,
        model::Right::Write => wire::Right::Write,
        model::Right::Delete => wire::Right::Delete,
        model::Right::Administer => wire::Right::Administer,
    }
}
