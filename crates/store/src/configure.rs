//! Contents, and their configuration: tenant settings, namespaces, credentials.

use std::collections::BTreeMap;

use switchback_model::{Content, ContentId, ContentKind, FeedId, Grant, Rights};

use crate::access::AccessRecord;
use crate::batch::Batch;
use crate::codec::ContentRow;
use crate::commit::{check_namespace, check_writable};
use crate::digest::Sum;
use crate::engine::{Family, Rows as _};
use crate::error::{Error, Result};
use crate::key;
use crate::lineage::Lineage;
use crate::record::{
    CredentialRecord, DEFAULT_TENANT, NAME_MAX, NamespaceRecord, Payload, RecordKey, TenantRecord,
};
use crate::{lifecycle, lock, versioning};

/// A content's row before it holds anything.
pub(crate) fn empty_content(content: Content, access: AccessRecord, now_unix_ms: u64) -> ContentRow {
    ContentRow {
        content,
        description: String::new(),
        created_unix_ms: now_unix_ms,
        feed: FeedId(crate::random::number()),
        head: 0,
        objects: 0,
        bytes: 0,
        digest: Sum::default(),
        sources: Vec::new(),
        access,
        cursors: Vec::new(),
        lineage: Lineage::default(),
        peer_lineage: Lineage::default(),
        notes_given: FeedId::default(),
        acknowledged: None,
        acknowledged_before: None,
        tombstones: 0,
    }
}

/// A name that is a DNS label and a bucket at once.
fn check_label(what: &'static str, name: &str, dots: bool) -> Result<()> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (3..=63).contains(&name.len())
        && name.bytes().all(|byte| inner(byte) || byte == b'-' || (dots && byte == b'.'))
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner);
    let reason = "use 3 to 63 of a-z, 0-9 and \"-\", with a letter or digit at both ends";
    if fits { Ok(()) } else { Err(Error::Invalid { what, reason }) }
}

pub(crate) fn create_content(
    batch: &mut Batch<'_>,
    kind: ContentKind,
    name: &str,
    description: &str,
    settings: &Settings,
) -> Result<Content> {
    check_label("name", name, false)?;
    if kind == ContentKind::Tenant && !settings.is_empty() {
        let reason = "a tenant is made without any: its namespaces have settings";
        return Err(Error::Invalid { what: "settings", reason });
    }
    check_new_settings(settings)?;
    if name == DEFAULT_TENANT {
        return Err(Error::Reserved { what: format!("the name {DEFAULT_TENANT:?}") });
    }
    batch.check_room()?;
    if batch.row(Family::Meta, &key::content_name(kind, name))?.is_some() {
        return Err(Error::ContentExists { kind, name: name.into() });
    }
    make_content(batch, kind, name, description, settings)
}

/// Makes the reserved tenant, whose namespaces are the directories, if it is not there.
pub(crate) fn ensure_default_tenant(batch: &mut Batch<'_>) -> Result<()> {
    if batch.row(Family::Meta, &key::content_name(ContentKind::Tenant, DEFAULT_TENANT))?.is_none() {
        make_content(
            batch,
            ContentKind::Tenant,
            DEFAULT_TENANT,
            "owner of the directories",
            &Settings::new(),
        )?;
    }
    Ok(())
}

fn make_content(
    batch: &mut Batch<'_>,
    kind: ContentKind,
    name: &str,
    description: &str,
    settings: &Settings,
) -> Result<Content> {
    let content = Content { kind, name: name.into(), id: ContentId(crate::random::bytes()) };
    let now = batch.now_unix_ms;
    let mut row = empty_content(content.clone(), AccessRecord::unlinked(), now);
    row.description = description.into();
    batch.add_content(row);
    let tenant = TenantRecord {
        name: name.into(),
        description: description.into(),
        created_unix_ms: now,
        settings: BTreeMap::new(),
    };
    batch.write_local(content.id, RecordKey::Tenant, None, Payload::Tenant(tenant))?;
    if kind == ContentKind::Directory {
        write_namespace(batch, content.id, name, settings)?;
    }
    Ok(content)
}

pub(crate) fn delete_content(batch: &mut Batch<'_>, id: ContentId) -> Result<()> {
    let row = batch.content(id)?;
    let (content, objects, access) = (row.content.clone(), row.objects, row.access.clone());
    if let Some(link) = access.link {
        return Err(Error::ContentOnLink { link, link_name: access.link_name });
    }
    if content.name == DEFAULT_TENANT && content.kind == ContentKind::Tenant {
        return Err(Error::Reserved { what: format!("the tenant {DEFAULT_TENANT:?}") });
    }
    let namespaces = content.kind == ContentKind::Tenant && has_namespaces(batch, id)?;
    if objects > 0 || namespaces {
        return Err(Error::ContentNotEmpty { kind: content.kind });
    }
    for (row, _) in batch.first(Family::Record, &key::credentials(id), usize::MAX)? {
        if let RecordKey::Credential(access_key) = key::parse_name(&row[16..])? {
            batch.set_row(Family::Meta, key::credential(&access_key, id), None);
        }
    }
    crate::multipart::abort_all(batch, &key::content_uploads(id))?;
    batch.remove_content(id)
}

fn has_namespaces(batch: &Batch<'_>, id: ContentId) -> Result<bool> {
    for (row, _) in batch.first(Family::Record, &key::namespaces(id), usize::MAX)? {
        let stored = batch.stored(id, &key::parse_name(&row[16..])?)?;
        if stored.is_some_and(|stored| !stored.record.is_deleted()) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn create_namespace(
    batch: &mut Batch<'_>,
    id: ContentId,
    name: &str,
    settings: &Settings,
) -> Result<NamespaceRecord> {
    check_writable(batch, id)?;
    check_label("namespace name", name, true)?;
    check_new_settings(settings)?;
    check_has_own_namespaces(batch, id)?;
    batch.check_room()?;
    if check_namespace(batch, id, name).is_ok() {
        return Err(Error::NamespaceExists);
    }
    write_namespace(batch, id, name, settings)
}

/// A directory is its one namespace, and the reserved tenant's namespaces are the directories.
fn check_has_own_namespaces(batch: &mut Batch<'_>, id: ContentId) -> Result<()> {
    let content = &batch.content(id)?.content;
    if content.kind == ContentKind::Directory || content.name == DEFAULT_TENANT {
        return Err(Error::Reserved { what: "a directory's namespace".into() });
    }
    Ok(())
}

fn write_namespace(
    batch: &mut Batch<'_>,
    id: ContentId,
    name: &str,
    settings: &Settings,
) -> Result<NamespaceRecord> {
    let namespace =
        NamespaceRecord { name: name.into(), created_unix_ms: batch.now_unix_ms, settings: settings.clone() };
    let key = RecordKey::Namespace(name.into());
    let old = batch.stored(id, &key)?;
    batch.write_local(id, key, old, Payload::Namespace(namespace.clone()))?;
    Ok(namespace)
}

pub(crate) fn delete_namespace(batch: &mut Batch<'_>, id: ContentId, name: &str) -> Result<()> {
    check_writable(batch, id)?;
    check_namespace(batch, id, name)?;
    check_has_own_namespaces(batch, id)?;
    if batch.namespace_count(id, name)?.entries > 0 {
        return Err(Error::NamespaceNotEmpty);
    }
    crate::multipart::abort_all(batch, &key::uploads(id, name))?;
    let key = RecordKey::Namespace(name.into());
    let old = batch.stored(id, &key)?;
    batch.write_local(id, key, old, Payload::Deleted).map(|_| ())
}

/// Longer than any that S3 knows: bucket policies have 20 KiB, rules of CORS 64; a thousand rules of a lifecycle
/// take about 100.
const SETTINGS_BYTES_MAX: usize = 256 * 1024;

/// Settings of a namespace, by name.
pub(crate) type Settings = BTreeMap<String, String>;

/// Refuses one setting that nobody could heed.
fn check_setting(setting: &str, value: Option<&str>) -> Result<()> {
    versioning::check_setting(setting, value)?;
    lifecycle::check_setting(setting, value)
}

/// Refuses more of them than a record is to hold.
fn check_settings_room(settings: &Settings) -> Result<()> {
    let bytes = |(name, value): (&String, &String)| name.len() + value.len();
    if settings.iter().map(bytes).sum::<usize>() > SETTINGS_BYTES_MAX {
        return Err(Error::Invalid {
            what: "settings",
            reason: "all settings of a namespace together have at most 256 KiB",
        });
    }
    Ok(())
}

/// Refuses what a namespace cannot be made with.
fn check_new_settings(settings: &Settings) -> Result<()> {
    for (setting, value) in settings {
        check_setting(setting, Some(value))?;
    }
    let made = NamespaceRecord { settings: settings.clone(), ..NamespaceRecord::default() };
    lock::check_settings(&NamespaceRecord::default(), &made)?;
    check_settings_room(settings)
}

pub(crate) fn set_namespace_setting(
    batch: &mut Batch<'_>,
    id: ContentId,
    name: &str,
    setting: &str,
    value: Option<String>,
) -> Result<()> {
    check_writable(batch, id)?;
    check_namespace(batch, id, name)?;
    check_setting(setting, value.as_deref())?;
    let key = RecordKey::Namespace(name.into());
    let old = batch.stored(id, &key)?;
    let before = match old.as_ref().map(|old| &old.record.payload) {
        Some(Payload::Namespace(namespace)) => namespace.clone(),
        // Deleted on one side, while it was written to on the other: it is there again.
        Some(_) | None => NamespaceRecord {
            name: name.into(),
            created_unix_ms: batch.now_unix_ms,
            settings: BTreeMap::new(),
        },
    };
    let mut namespace = before.clone();
    match value {
        Some(value) => namespace.settings.insert(setting.into(), value),
        None => namespace.settings.remove(setting),
    };
    if namespace == before {
        return Ok(());
    }
    lock::check_settings(&before, &namespace)?;
    if namespace.settings.len() >= before.settings.len() {
        batch.check_room()?;
        check_settings_room(&namespace.settings)?;
    }
    batch.write_local(id, key, old, Payload::Namespace(namespace)).map(|_| ())
}

/// More than anybody gives to one credential by hand; its record stays smaller than a page.
const GRANTS_MAX: usize = 100;

fn check_rights(rights: &Rights) -> Result<()> {
    let Rights::Granted(grants) = rights else { return Ok(()) };
    let invalid = |reason| Err(Error::Invalid { what: "rights", reason });
    if grants.len() > GRANTS_MAX {
        return invalid(
            "a credential has at most 100 grants; one whose namespace ends in \"*\" is of several",
        );
    }
    let fits = |grant: &Grant| grant.is_well_formed() && grant.namespaces.len() <= NAME_MAX;
    if !grants.iter().all(fits) {
        return invalid(
            "a grant names a namespace, or the start of one with \"*\" after it, and at least one right",
        );
    }
    Ok(())
}

pub(crate) fn create_credential(
    batch: &mut Batch<'_>,
    id: ContentId,
    mut credential: CredentialRecord,
) -> Result<CredentialRecord> {
    check_writable(batch, id)?;
    batch.check_room()?;
    let fits =
        |text: &str| (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits(&credential.access_key) || !fits(&credential.secret_key) {
        return Err(Error::Invalid {
            what: "credential",
            reason: "keys are 1 to 255 printable ASCII characters",
        });
    }
    check_rights(&credential.rights)?;
    let taken = batch.first(Family::Meta, &key::credential_prefix(&credential.access_key), 1)?;
    if !taken.is_empty() {
        return Err(Error::CredentialExists);
    }
    credential.created_unix_ms = batch.now_unix_ms;
    let key = RecordKey::Credential(credential.access_key.clone());
    let old = batch.stored(id, &key)?;
    batch.write_local(id, key, old, Payload::Credential(credential.clone()))?;
    Ok(credential)
}

/// Replaces what a credential may do; the rest of it stays.
pub(crate) fn set_credential_rights(
    batch: &mut Batch<'_>,
    id: ContentId,
    access_key: &str,
    rights: Rights,
) -> Result<CredentialRecord> {
    check_writable(batch, id)?;
    check_rights(&rights)?;
    let key = RecordKey::Credential(access_key.into());
    let old = batch.stored(id, &key)?;
    let Some(Payload::Credential(before)) = old.as_ref().map(|old| &old.record.payload) else {
        return Err(Error::NoSuchCredential);
    };
    let credential = CredentialRecord { rights, ..before.clone() };
    if credential != *before {
        // Rights can be taken away also when the storage is full.
        batch.write_local(id, key, old, Payload::Credential(credential.clone()))?;
    }
    Ok(credential)
}

pub(crate) fn delete_credential(batch: &mut Batch<'_>, id: ContentId, access_key: &str) -> Result<()> {
    check_writable(batch, id)?;
    let key = RecordKey::Credential(access_key.into());
    match batch.stored(id, &key)? {
        Some(old) if !old.record.is_deleted() => {
            batch.write_local(id, key, Some(old), Payload::Deleted).map(|_| ())
        }
        Some(_) | None => Err(Error::NoSuchCredential),
    }
}

pub(crate) fn set_settings(
    batch: &mut Batch<'_>,
    id: ContentId,
    settings: BTreeMap<String, String>,
) -> Result<()> {
    check_writable(batch, id)?;
    batch.check_room()?;
    let old = batch.stored(id, &RecordKey::Tenant)?;
    let mut tenant = match old.as_ref().map(|old| &old.record.payload) {
        Some(Payload::Tenant(tenant)) => tenant.clone(),
        Some(_) | None => {
            let row = batch.content(id)?;
            TenantRecord {
                name: row.content.name.clone(),
                description: row.description.clone(),
                created_unix_ms: row.created_unix_ms,
                settings: BTreeMap::new(),
            }
        }
    };
    tenant.settings = settings;
    batch.write_local(id, RecordKey::Tenant, old, Payload::Tenant(tenant)).map(|_| ())
}
