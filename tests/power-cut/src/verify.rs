//! A disk after a power cut, compared with what had been acknowledged.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use futures::TryStreamExt as _;
use switchback_model::{ContentId, ContentKind};
use switchback_store::{Body, Catalogue, ChangesRequest, Error, Payload};

use crate::account::{Account, Moment, Value};
use crate::workload::{
    FAMILY, Kept, NAMESPACE, RECEIVED, SWITCHED, WRITTEN, digest, received, switched, twins,
};

/// What is wrong with the disk in `folder` after a cut at `cut`; nothing, it is hoped.
///
/// # Errors
/// The product's code cannot open it: that is wrong, too.
pub async fn verify(folder: &Path, account: &Account, cut: Moment) -> anyhow::Result<Vec<String>> {
    let kept = Kept::open(folder)?;
    let mut wrong = Vec::new();
    for register in account.registers() {
        let found = read(&kept, &register).await.with_context(|| format!("read {register}"))?;
        let allowed = account.allowed(&register, cut);
        if !allowed.contains(&found) {
            wrong.push(format!("{register} is {}, not {}", shown(&found), shown_all(&allowed)));
        }
    }
    for name in [WRITTEN, RECEIVED] {
        if let Some(content) = kept.catalogue.find_content(ContentKind::Tenant, name)? {
            wrong.extend(consistent(&kept.catalogue, content.id, name)?);
        }
    }
    Ok(wrong)
}

async fn read(kept: &Kept, register: &str) -> anyhow::Result<Value> {
    if let Some(key) = register.strip_prefix("object ") {
        return object(kept, key).await;
    }
    if let Some(recorder) = register.strip_prefix("twins ") {
        return remembered(kept, recorder);
    }
    match register {
        "access" => {
            let content = kept.catalogue.find_content(ContentKind::Tenant, SWITCHED)?;
            let status = content.map(|content| kept.catalogue.content(content.id)).transpose()?;
            Ok(status.filter(|status| status.access.link.is_some()).map(|status| switched(&status.access)))
        }
        "cursor" => cursor(kept),
        other => anyhow::bail!("there is no register {other}"),
    }
}

async fn object(kept: &Kept, key: &str) -> anyhow::Result<Value> {
    let Some(content) = kept.catalogue.find_content(ContentKind::Tenant, WRITTEN)? else { return Ok(None) };
    let entry = match kept.catalogue.object(content.id, NAMESPACE, key, true) {
        Ok(entry) => entry,
        Err(Error::NoSuchKey | Error::NoSuchNamespace { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    match &entry.object.body {
        Body::Inline(inline) => bytes.extend_from_slice(inline),
        Body::Segments(segments) => {
            for segment in segments {
                let pieces = kept.blobs.read(segment.blob, 0..segment.size).await?;
                let pieces: Vec<bytes::Bytes> = pieces.try_collect().await?;
                bytes.extend(pieces.concat());
            }
        }
    }
    Ok(Some(digest(&bytes)))
}

fn remembered(kept: &Kept, recorder: &str) -> anyhow::Result<Value> {
    let [left, right] = twins(recorder).map(|twin| kept.state.get(FAMILY, &twin));
    let (left, right) = (left?, right?);
    Ok(if left == right { left } else { Some(b"two that differ".to_vec()) })
}

/// The cursor with the newest of the keys, all of which are there: data is never behind its cursor.
fn cursor(kept: &Kept) -> anyhow::Result<Value> {
    let Some(content) = kept.catalogue.find_content(ContentKind::Tenant, RECEIVED)? else { return Ok(None) };
    let status = kept.catalogue.content(content.id)?;
    let Some(cursor) = status.cursors.first().copied() else { return Ok(None) };
    let mut steps = 0_usize;
    while kept.catalogue.object(content.id, NAMESPACE, &format!("{steps:05}"), false).is_ok() {
        steps += 1;
    }
    Ok(Some(
        steps.checked_sub(1).map_or_else(Vec::new, |newest| received(cursor.feed, cursor.through, newest)),
    ))
}

/// The feed names each record once, in order, up to its head; digest and sizes are those of what
/// is visible.
fn consistent(catalogue: &Catalogue, content: ContentId, name: &str) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let status = catalogue.content(content)?;
    let (mut after, mut records, mut objects, mut bytes) = (0, 0, 0, 0);
    let mut keys = BTreeSet::new();
    loop {
        let request = ChangesRequest {
            exclude: None,
            after,
            configuration_only: false,
            changes_max: 1_000,
            bytes_max: 1 << 24,
        };
        let batch = catalogue.changes(content, &request)?;
        for change in &batch.changes {
            if !keys.insert(change.record.key.clone()) {
                wrong.push(format!("the feed of {name} names {} twice", change.record.key.label()));
            }
            let counted = !matches!(change.record.payload, Payload::Deleted | Payload::Divergence(_));
            records += u64::from(counted);
            objects += u64::from(change.record.as_object().is_some());
            bytes += change.record.size();
        }
        if batch.through == after || batch.through == batch.head {
            break;
        }
        after = batch.through;
    }
    let found = (status.digest.records, status.objects, status.bytes);
    if found != (records, objects, bytes) {
        wrong.push(format!("{name} counts {found:?}, but its feed {:?}", (records, objects, bytes)));
    }
    Ok(wrong)
}

fn shown(value: &Value) -> String {
    value.as_ref().map_or_else(
        || "nothing".into(),
        |bytes| match std::str::from_utf8(bytes) {
            Ok(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => text.to_owned(),
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
    )
}

fn shown_all(values: &[Value]) -> String {
    values.iter().map(shown).collect::<Vec<_>>().join(" or ")
}
