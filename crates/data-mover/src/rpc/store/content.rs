//! Tenants, directories, namespaces and credentials.

use switchback_kit::world::random;
use switchback_model::ContentKind;
use switchback_proto::rights;
use switchback_proto::store::v1::*;
use switchback_store::{CredentialRecord, Error};
use tonic::Code;

use super::StoreRpc;
use crate::convert::{boxed, content_to_wire, credential, kind_from_wire, namespace, resolve, summary};
use crate::request::REQUEST_ID_MAX;
use crate::status::{Answer, from_state, invalid, refuse};

/// Lengths that S3's own keys have.
const ACCESS_KEY_LEN: usize = 20;
const SECRET_KEY_LEN: usize = 40;

impl StoreRpc {
    pub(super) async fn content_create(&self, r: CreateContentRequest) -> Answer<CreateContentResponse> {
        let kind = kind_from_wire(r.kind())?;
        if !is_label(&r.name) {
            return Err(invalid(
                "name: expected 3 to 63 characters of a-z, 0-9 and \"-\", no \"-\" at an end",
            ));
        }
        let what = format!("create {kind}:{}", r.name);
        let repeated = self.note(&r.request_id, &what).await?;
        let made = self.catalogue.create_content_with(kind, &r.name, &r.description, r.settings);
        let content = match made.await {
            Ok(content) => {
                self.bells.ring(content.id);
                content
            }
            Err(Error::ContentExists { .. }) if repeated => self.named(kind, &r.name)?,
            Err(error) => {
                self.forget(&r.request_id, &what).await?;
                return Err(boxed(error));
            }
        };
        let status = self.catalogue.content(content.id).map_err(boxed)?;
        Ok(CreateContentResponse { content: Some(summary(&status)) })
    }

    pub(super) async fn content_list(&self) -> Answer<ListContentsResponse> {
        let contents = self.scan(|catalogue| catalogue.contents()).await?;
        Ok(ListContentsResponse { contents: contents.iter().map(summary).collect() })
    }

    pub(super) async fn content_delete(&self, r: DeleteContentRequest) -> Answer<DeleteContentResponse> {
        let asked = r.content.clone().unwrap_or_default();
        let what = format!("delete {}:{}:{}", asked.kind, asked.name, hex::encode(&asked.id));
        let repeated = self.note(&r.request_id, &what).await?;
        let deleted = match resolve(&self.catalogue, r.content.as_ref()) {
            Ok(content) => self.catalogue.delete_content(content).await.map_err(boxed),
            Err(status) => Err(status),
        };
        self.bells.ring_status();
        match deleted {
            Ok(()) => Ok(DeleteContentResponse {}),
            Err(status) if repeated && status.code() == Code::NotFound => Ok(DeleteContentResponse {}),
            Err(status) => {
                self.forget(&r.request_id, &what).await?;
                Err(status)
            }
        }
    }

    pub(super) async fn content_release(&self, r: ReleaseContentRequest) -> Answer<ReleaseContentResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let status = self.catalogue.content(content).map_err(boxed)?;
        if let (Some(link), false) = (status.access.link, status.access.orphaned) {
            return Err(boxed(Error::ContentOnLink { link, link_name: status.access.link_name }));
        }
        self.committed(content, self.catalogue.release(vec![content]).await)?;
        Ok(ReleaseContentResponse {})
    }

    pub(super) async fn namespace_create(
        &self,
        r: CreateNamespaceRequest,
    ) -> Answer<CreateNamespaceResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let made = self.catalogue.create_namespace_with(content, &r.name, r.settings).await;
        self.committed(content, made)?;
        let status = self.catalogue.namespace(content, &r.name).map_err(boxed)?;
        Ok(CreateNamespaceResponse { namespace: Some(namespace(&status)) })
    }

    pub(super) async fn namespace_list(&self, r: ListNamespacesRequest) -> Answer<ListNamespacesResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let namespaces = self.scan(move |catalogue| catalogue.namespaces(content)).await?;
        Ok(ListNamespacesResponse { namespaces: namespaces.iter().map(namespace).collect() })
    }

    pub(super) fn namespace_get(&self, r: &GetNamespaceRequest) -> Answer<GetNamespaceResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let status = self.catalogue.namespace(content, &r.name).map_err(boxed)?;
        let settings = status.namespace.settings.clone().into_iter().collect();
        Ok(GetNamespaceResponse { namespace: Some(Namespace { settings, ..namespace(&status) }) })
    }

    pub(super) async fn namespace_delete(
        &self,
        r: DeleteNamespaceRequest,
    ) -> Answer<DeleteNamespaceResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        self.committed(content, self.catalogue.delete_namespace(content, &r.name).await)?;
        Ok(DeleteNamespaceResponse {})
    }

    pub(super) async fn namespace_set(
        &self,
        r: SetNamespaceSettingRequest,
    ) -> Answer<SetNamespaceSettingResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        if r.setting.is_empty() {
            return Err(invalid("setting: expected a name"));
        }
        let set = self.catalogue.set_namespace_setting(content, &r.name, &r.setting, r.value).await;
        self.committed(content, set)?;
        Ok(SetNamespaceSettingResponse {})
    }

    pub(super) async fn credential_create(
        &self,
        r: CreateCredentialRequest,
    ) -> Answer<CreateCredentialResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let (access_key, secret_key) = match (r.access_key.is_empty(), r.secret_key.is_empty()) {
            (true, true) => (
                random_text(ACCESS_KEY_LEN, ACCESS_KEY_LETTERS)?,
                random_text(SECRET_KEY_LEN, SECRET_KEY_LETTERS)?,
            ),
            (false, false) => (r.access_key, r.secret_key),
            (true, false) | (false, true) => {
                return Err(invalid(
                    "access_key, secret_key: give both to import them, or neither to have them made",
                ));
            }
        };
        let record = CredentialRecord {
            access_key,
            secret_key,
            created_unix_ms: 0,
            description: r.description,
            rights: rights::from_wire(r.rights),
        };
        let made = self.committed(content, self.catalogue.create_credential(content, record).await)?;
        Ok(CreateCredentialResponse { credential: Some(credential(made, true)) })
    }

    pub(super) async fn credential_list(&self, r: ListCredentialsRequest) -> Answer<ListCredentialsResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let credentials = self.scan(move |catalogue| catalogue.credentials(content)).await?;
        let credentials = credentials.into_iter().map(|record| credential(record, false)).collect();
        Ok(ListCredentialsResponse { credentials })
    }

    pub(super) async fn credential_delete(
        &self,
        r: DeleteCredentialRequest,
    ) -> Answer<DeleteCredentialResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        self.committed(content, self.catalogue.delete_credential(content, &r.access_key).await)?;
        Ok(DeleteCredentialResponse {})
    }

    pub(super) async fn credential_set_rights(
        &self,
        r: SetCredentialRightsRequest,
    ) -> Answer<SetCredentialRightsResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let rights = rights::from_wire(r.rights);
        let set = self.catalogue.set_credential_rights(content, &r.access_key, rights).await;
        let set = self.committed(content, set)?;
        Ok(SetCredentialRightsResponse { credential: Some(credential(set, false)) })
    }

    pub(super) fn credential_lookup(&self, r: &LookupCredentialRequest) -> Answer<LookupCredentialResponse> {
        let found = self.catalogue.find_credential(&r.access_key).map_err(boxed)?;
        let (content, record) = found.ok_or_else(|| boxed(Error::NoSuchCredential))?;
        Ok(LookupCredentialResponse {
            content: Some(content_to_wire(&content)),
            credential: Some(credential(record, true)),
        })
    }

    fn named(&self, kind: ContentKind, name: &str) -> Answer<switchback_model::Content> {
        let found = self.catalogue.find_content(kind, name).map_err(boxed)?;
        found.ok_or_else(|| boxed(Error::NoSuchContent))
    }

    async fn note(&self, request_id: &str, what: &str) -> Answer<bool> {
        if request_id.len() > REQUEST_ID_MAX {
            return Err(invalid(format!("request_id: longer than {REQUEST_ID_MAX} bytes")));
        }
        self.requests.note(request_id, what).await.map_err(|error| from_state(&error))
    }

    async fn forget(&self, request_id: &str, what: &str) -> Answer<()> {
        self.requests.forget(request_id, what).await.map_err(|error| from_state(&error))
    }
}

const ACCESS_KEY_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_KEY_LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Random text of `length` letters. The alphabets' sizes divide 256, so no letter is favoured.
fn random_text(length: usize, letters: &[u8]) -> Answer<String> {
    let mut random = vec![0; length];
    random::fill(&mut random)
        .map_err(|_| refuse(Code::Unavailable, "UNAVAILABLE", "the machine gives no random numbers"))?;
    Ok(random.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect())
}

/// A tenant's name becomes a DNS label.
fn is_label(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_dns_label_is_refused() {
        for good in ["abc", "a-1", "payments"] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["ab", "Abc", "-ab", "ab-", "a_b", "a.b", ""] {
            assert!(!is_label(bad), "{bad}");
        }
    }

    #[test]
    fn made_keys_have_their_lengths_and_differ() {
        let one = random_text(SECRET_KEY_LEN, SECRET_KEY_LETTERS).unwrap();
        let two = random_text(SECRET_KEY_LEN, SECRET_KEY_LETTERS).unwrap();
        assert_eq!(one.len(), 40);
        assert_ne!(one, two);
    }
}
