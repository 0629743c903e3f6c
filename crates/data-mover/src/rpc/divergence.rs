//! The divergence report, page by page. What is told is what the notes say, so that both systems of
//! a link tell the same.

use switchback_model::{Content, Epoch, SiteId};
use switchback_proto::model::v1 as model;
use switchback_proto::mover::v1::{ListDivergencesRequest, ListDivergencesResponse};
use switchback_store::{Divergence, Payload, Record};

use super::mover::RECORDS_MAX;
use crate::absence;
use crate::convert::{boxed, content_to_wire, link_id, version_to_wire};
use crate::mover::Mover;
use crate::status::{Answer, invalid};

pub(crate) fn list(mover: &Mover, r: &ListDivergencesRequest) -> Answer<ListDivergencesResponse> {
    let id = link_id(&r.link_id)?;
    let after = hex::decode(&r.page_token).map_err(|_| invalid("page_token: not one of ours"))?;
    let after = (!after.is_empty()).then_some(after.as_slice());
    let max = match r.divergences_max as usize {
        0 => RECORDS_MAX,
        max => max.min(RECORDS_MAX),
    };
    let epochs = Epoch(r.epoch_min)..=Epoch(r.epoch_max.unwrap_or(u64::MAX));
    let page = mover.catalogue.divergences(id, epochs, after, max).map_err(boxed)?;
    let divergences = page.divergences.into_iter().map(|(content, found)| to_wire(&content, found)).collect();
    let next_page_token = page.next.map(hex::encode).unwrap_or_default();
    let absences = match after {
        None => absence::list(mover, id, r.epoch_min, r.epoch_max.unwrap_or(u64::MAX))?,
        Some(_) => Vec::new(),
    };
    Ok(ListDivergencesResponse { divergences, next_page_token, absences })
}

fn to_wire(content: &Content, divergence: Divergence) -> model::Divergence {
    let system = |name: String, site: SiteId| if name.is_empty() { site.to_string() } else { name };
    model::Divergence {
        content: Some(content_to_wire(content)),
        namespace: divergence.key.namespace().to_owned(),
        key: divergence.key.label(),
        winner: Some(version_to_wire(divergence.winner)),
        loser: Some(version_to_wire(divergence.loser)),
        winner_deleted: divergence.winner_deleted,
        loser_deleted: divergence.loser_deleted,
        rule: divergence.rule,
        kept_at: divergence.kept_at.unwrap_or_default(),
        winner_system: system(divergence.winner_trace.system, divergence.winner.site),
        loser_system: system(divergence.loser_trace.system, divergence.loser.site),
        epoch: divergence.epoch.0,
        winner_size: divergence.winner_trace.size,
        winner_etag: divergence.winner_trace.etag,
        loser_size: divergence.loser_trace.size,
        loser_etag: divergence.loser_trace.etag,
        loser_configuration: divergence.loser_record.and_then(|record| configuration(*record)),
    }
}

fn configuration(record: Record) -> Option<model::Configuration> {
    let told = |created_unix_ms: u64, description, settings: std::collections::BTreeMap<_, _>| {
        let created_unix_ms = i64::try_from(created_unix_ms).unwrap_or(0);
        let settings = settings.into_iter().collect();
        model::Configuration { created_unix_ms, description, settings, rights: String::new() }
    };
    match record.payload {
        Payload::Tenant(tenant) => Some(told(tenant.created_unix_ms, tenant.description, tenant.settings)),
        Payload::Namespace(namespace) => {
            Some(told(namespace.created_unix_ms, String::new(), namespace.settings))
        }
        Payload::Credential(credential) => Some(model::Configuration {
            rights: credential.rights.to_string(),
            ..told(credential.created_unix_ms, credential.description, Default::default())
        }),
        Payload::Deleted | Payload::DeleteMarker | Payload::Object(_) | Payload::Divergence(_) => None,
    }
}
