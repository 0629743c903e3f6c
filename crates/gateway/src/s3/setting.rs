//! Settings of buckets: of their namespaces, with which they replicate. What they say is S3's XML.

use std::collections::BTreeMap;

use s3s::xml::{Deserialize, Deserializer, Serialize, Serializer};
use s3s::{S3Error, S3Result, s3_error};
use switchback_proto::store::v1::{GetNamespaceRequest, SetNamespaceSettingRequest};
use tonic::Status;

use super::{Gateway, refused};
use crate::auth::Place;
use crate::store::{Store, answer};

/// What the setting says, as it is kept; `None` when it is not set.
///
/// # Errors
/// There is no such bucket, or the store does not answer.
pub(crate) async fn get(store: &Store, place: Place, setting: &str) -> Result<Option<String>, Status> {
    Ok(all(store, place).await?.remove(setting))
}

/// All that is set, as it is kept.
///
/// # Errors
/// There is no such bucket, or the store does not answer.
pub(crate) async fn all(store: &Store, place: Place) -> Result<BTreeMap<String, String>, Status> {
    let call = GetNamespaceRequest { content: Some(place.content), name: place.namespace };
    let found = answer(store.client().get_namespace(call)).await?;
    Ok(found.namespace.unwrap_or_default().settings)
}

/// Sets it, or removes it.
pub(super) async fn set(
    gateway: &Gateway,
    Place { content, namespace }: Place,
    setting: &str,
    value: Option<String>,
) -> S3Result<()> {
    let (content, setting) = (Some(content), setting.into());
    let call = SetNamespaceSettingRequest { content, name: namespace, setting, value };
    answer(gateway.store.client().set_namespace_setting(call)).await.map_err(refused)?;
    Ok(())
}

/// As it is kept.
pub(crate) fn written(value: &impl Serialize) -> S3Result<String> {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::new(&mut bytes));
    let text = written.ok().and_then(|()| String::from_utf8(bytes).ok());
    text.ok_or_else(|| s3_error!(InternalError, "the setting cannot be written"))
}

/// From what is kept.
///
/// # Errors
/// Something else wrote it.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(text: &str) -> S3Result<T> {
    T::deserialize(&mut Deserializer::new(text.as_bytes())).map_err(|_| unreadable())
}

/// What is said of a setting that something else wrote.
pub(crate) fn unreadable() -> S3Error {
    s3_error!(InternalError, "what is set of the bucket cannot be read; set it again")
}
