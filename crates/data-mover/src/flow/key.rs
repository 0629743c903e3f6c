//! Names of records on the wire between movers.

use switchback_model::Version;
use switchback_proto::replication::v1 as wire;
use switchback_proto::replication::v1::record_key::Kind;
use switchback_store::{RecordKey, UploadId};

use crate::convert::{version_from_wire, version_to_wire};

/// A short name of a record's key: the first bytes of its BLAKE3. Two keys of one content with the
/// same one are beyond chance, and would cost a record sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyHash(pub(crate) [u8; 16]);

impl KeyHash {
    pub(crate) fn of(key: &RecordKey) -> Self {
        // Reports call all versions of an object by its key.
        let mut hasher = match key {
            RecordKey::Version { id, .. } => {
                let mut hasher = blake3::Hasher::new_derive_key("switchback: a version of an object");
                hasher.update(&id.hlc.0.to_be_bytes()).update(&id.site.0.to_be_bytes());
                hasher
            }
            RecordKey::Tenant
            | RecordKey::Namespace(_)
            | RecordKey::Credential(_)
            | RecordKey::Object { .. }
            | RecordKey::Divergence { .. } => blake3::Hasher::new(),
        };
        hasher.update(key.namespace().as_bytes()).update(&[0]).update(key.label().as_bytes());
        Self::head_of(&hasher)
    }

    /// The same of a part of an open upload, which has no record.
    pub(crate) fn of_part(upload: UploadId, number: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("switchback: a part of an upload");
        hasher.update(&upload.0).update(&number.to_be_bytes());
        Self::head_of(&hasher)
    }

    fn head_of(hasher: &blake3::Hasher) -> Self {
        let mut head = [0; 16];
        head.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(head)
    }
}

pub(crate) fn to_wire(key: &RecordKey) -> wire::RecordKey {
    let named = |kind: Kind, namespace: &str, name: &str| wire::RecordKey {
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
        loser: None,
        version_id: None,
    };
    match key {
        RecordKey::Tenant => named(Kind::Tenant, "", ""),
        RecordKey::Namespace(name) => named(Kind::Namespace, "", name),
        RecordKey::Credential(name) => named(Kind::Credential, "", name),
        RecordKey::Object { namespace, key } => named(Kind::Object, namespace, key),
        RecordKey::Version { namespace, key, id } => {
            wire::RecordKey { version_id: Some(version_to_wire(*id)), ..named(Kind::Version, namespace, key) }
        }
        RecordKey::Divergence { of, loser } => {
            wire::RecordKey { loser: Some(version_to_wire(*loser)), ..to_wire(of) }
        }
    }
}

/// None for a kind that this program does not know.
pub(crate) fn from_wire(key: wire::RecordKey) -> Option<RecordKey> {
    let of = match key.kind() {
        Kind::Tenant => RecordKey::Tenant,
        Kind::Namespace => RecordKey::Namespace(key.name),
        Kind::Credential => RecordKey::Credential(key.name),
        Kind::Object => RecordKey::Object { namespace: key.namespace, key: key.name },
        Kind::Version => {
            let id = version_from_wire(&key.version_id?);
            RecordKey::Version { namespace: key.namespace, key: key.name, id }
        }
        Kind::Unspecified => return None,
    };
    Some(match &key.loser {
        Some(loser) => RecordKey::Divergence { of: Box::new(of), loser: version_from_wire(loser) },
        None => of,
    })
}

/// The key of a record that is no note, by how it is named to operators: with which version, if it is a
/// version of an object that has a name of its own.
pub(crate) fn from_label(namespace: &str, label: &str, version: Option<Version>) -> Option<RecordKey> {
    if !namespace.is_empty() {
        return Some(match version {
            Some(id) => RecordKey::Version { namespace: namespace.into(), key: label.into(), id },
            None => RecordKey::object(namespace, label),
        });
    }
    match label.split_once(':') {
        None => (label == "tenant").then_some(RecordKey::Tenant),
        Some(("namespace", name)) => Some(RecordKey::Namespace(name.into())),
        Some(("credential", name)) => Some(RecordKey::Credential(name.into())),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_model::{Hlc, SiteId};

    #[test]
    fn keys_cross_the_wire_unchanged_and_have_names_of_their_own() {
        let object = RecordKey::object("photos", "a/b");
        let [loser, other] = [4, 5].map(|site| Version { hlc: Hlc(3), site: SiteId(site) });
        let version = RecordKey::Version { namespace: "photos".into(), key: "a/b".into(), id: loser };
        let keys = [
            RecordKey::Tenant,
            RecordKey::Namespace("photos".into()),
            RecordKey::Credential("photos".into()),
            RecordKey::object("photos", "a"),
            object.clone(),
            RecordKey::Divergence { of: Box::new(object), loser },
            version.clone(),
            RecordKey::Version { namespace: "photos".into(), key: "a/b".into(), id: other },
            RecordKey::Divergence { of: Box::new(version), loser: other },
        ];
        let names: std::collections::BTreeSet<_> = keys.iter().map(KeyHash::of).collect();
        assert_eq!(names.len(), keys.len());
        for key in keys {
            assert_eq!(from_wire(to_wire(&key)), Some(key));
        }
    }
}
