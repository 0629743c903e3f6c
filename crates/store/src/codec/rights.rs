//! What a credential may do, as it is stored and exchanged.

use switchback_model::{Grant, Right, Rights};
use switchback_proto::store::record::v1 as pb;

/// Everything is told by absence: of the records that were written before there were rights, too.
pub(super) fn rights(rights: &Rights) -> Option<pb::Rights> {
    let grant = |grant: &Grant| pb::Grant {
        namespaces: grant.namespaces.clone(),
        rights: grant.rights.iter().map(|right| number(*right).into()).collect(),
    };
    match rights {
        Rights::All => None,
        Rights::Granted(grants) => Some(pb::Rights { grants: grants.iter().map(grant).collect() }),
    }
}

/// A right that this program does not know is not held.
pub(super) fn typed_rights(rights: Option<pb::Rights>) -> Rights {
    let Some(rights) = rights else { return Rights::All };
    let grant = |grant: pb::Grant| Grant {
        rights: grant.rights().filter_map(typed).collect(),
        namespaces: grant.namespaces,
    };
    Rights::Granted(rights.grants.into_iter().map(grant).collect())
}

fn number(right: Right) -> pb::Right {
    match right {
        Right::Read => pb::Right::Read,
        Right::Write => pb::Right::Write,
        Right::Delete => pb::Right::Delete,
        Right::Administer => pb::Right::Administer,
    }
}

fn typed(right: pb::Right) -> Option<Right> {
    match right {
        pb::Right::Read => Some(Right::Read),
        pb::Right::Write => Some(Right::Write),
        pb::Right::Delete => Some(Right::Delete),
        pb::Right::Administer => Some(Right::Administer),
        pb::Right::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_credential_of_before_has_all_rights_and_one_of_now_those_that_it_was_given() {
        let before = pb::Credential { access_key: "AK".into(), ..Default::default() }.encode_to_vec();
        let read = pb::Credential::decode(&before[..]).unwrap();
        assert_eq!(typed_rights(read.rights), Rights::All);
        for given in [vec![], vec!["photos=read", "logs-*=write,delete"], vec!["*=all"]] {
            let given = Rights::Granted(given.into_iter().map(|grant| grant.parse().unwrap()).collect());
            let bytes = pb::Credential { rights: rights(&given), ..Default::default() }.encode_to_vec();
            assert_eq!(typed_rights(pb::Credential::decode(&bytes[..]).unwrap().rights), given);
        }
    }

    #[test]
    fn a_right_that_is_not_known_is_not_held() {
        let grant = pb::Grant { namespaces: "*".into(), rights: vec![pb::Right::Read.into(), 99] };
        let Rights::Granted(grants) = typed_rights(Some(pb::Rights { grants: vec![grant] })) else {
            unreachable!("there is a grant")
        };
        assert_eq!(grants[0].rights.iter().collect::<Vec<_>>(), [&Right::Read]);
    }
}
