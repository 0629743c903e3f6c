//! Tenants, directories, namespaces and credentials.

use serde::Serialize;
use switchback_proto::rights;
use switchback_proto::store::v1 as proto;

use super::{kind_name, mode_name, mode_short};
use crate::output::{Show, dash, fields, table};
use crate::time::{bytes, timestamp};

/// A tenant or directory.
#[derive(Clone, Debug, Serialize)]
pub struct ContentView {
    /// `tenant` or `directory`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// `read_write` or `read_only`, here.
    pub mode: &'static str,
    /// The link that protects it; empty when none does.
    pub link: String,
    /// The link's epoch, as the store has it.
    pub epoch: u64,
    /// Number of objects, with all their versions and delete markers.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is visible in it, as a set hash; equal on both systems when they hold the same.
    pub digest: String,
    /// The domain of the system that accepts writes, where that is known and not this one.
    pub writer: String,
    /// The operator's words.
    pub description: String,
    /// It was once on a link that this system has lost; it stays read-only until it is released.
    pub orphaned: bool,
}

impl From<proto::ContentSummary> for ContentView {
    fn from(from: proto::ContentSummary) -> Self {
        let content = from.content.unwrap_or_default();
        Self {
            kind: kind_name(content.kind),
            name: content.name,
            id: hex::encode(&content.id),
            mode: mode_name(from.mode),
            link: from.link,
            epoch: from.epoch,
            objects: from.objects,
            bytes: from.bytes,
            digest: hex::encode(from.digest.unwrap_or_default().total),
            writer: from.writer.unwrap_or_default().domain,
            description: from.description,
            orphaned: from.orphaned,
        }
    }
}

impl ContentView {
    fn link_cell(&self) -> String {
        if self.orphaned { "lost; release it".into() } else { dash(&self.link) }
    }
}

impl Show for ContentView {
    fn show(&self) -> String {
        fields(&[
            (self.kind, self.name.clone()),
            ("id", self.id.clone()),
            ("description", self.description.clone()),
            ("mode", mode_short(self.mode).into()),
            ("link", self.link_cell()),
            ("writer", self.writer.clone()),
            ("objects", self.objects.to_string()),
            ("bytes", bytes(self.bytes)),
            ("digest", self.digest.clone()),
        ])
    }
}

/// Tenants, directories, or both.
#[derive(Clone, Debug, Serialize)]
pub struct ContentsView {
    /// By kind and name.
    pub contents: Vec<ContentView>,
}

impl Show for ContentsView {
    fn show(&self) -> String {
        let rows = self.contents.iter().map(|content| {
            vec![
                content.kind.into(),
                content.name.clone(),
                mode_short(content.mode).into(),
                content.link_cell(),
                content.objects.to_string(),
                bytes(content.bytes),
            ]
        });
        table(&["kind", "name", "mode", "link", "objects", "bytes"], rows.collect(), "none yet")
    }
}

/// A namespace: an S3 bucket.
#[derive(Clone, Debug, Serialize)]
pub struct NamespaceView {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_unix_ms: i64,
    /// Number of objects, with all their versions and delete markers.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl From<proto::Namespace> for NamespaceView {
    fn from(from: proto::Namespace) -> Self {
        Self {
            name: from.name,
            created_unix_ms: from.created_unix_ms,
            objects: from.objects,
            bytes: from.bytes,
        }
    }
}

/// A tenant's namespaces.
#[derive(Clone, Debug, Serialize)]
pub struct NamespacesView {
    /// By name.
    pub namespaces: Vec<NamespaceView>,
}

impl Show for NamespacesView {
    fn show(&self) -> String {
        let rows = self.namespaces.iter().map(|namespace| {
            vec![
                namespace.name.clone(),
                namespace.objects.to_string(),
                bytes(namespace.bytes),
                timestamp(namespace.created_unix_ms),
            ]
        });
        table(&["namespace", "objects", "bytes", "created"], rows.collect(), "no namespaces")
    }
}

/// An S3 credential.
#[derive(Clone, Debug, Serialize)]
pub struct CredentialView {
    /// The public half.
    pub access_key: String,
    /// Only when it was just made; shown once.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret_key: String,
    /// When it was made.
    pub created_unix_ms: i64,
    /// The operator's words.
    pub description: String,
    /// What it may do: `all`, `none`, or its grants.
    pub rights: String,
}

impl From<proto::Credential> for CredentialView {
    fn from(from: proto::Credential) -> Self {
        Self {
            access_key: from.access_key,
            secret_key: from.secret_key,
            created_unix_ms: from.created_unix_ms,
            description: from.description,
            rights: rights::from_wire(from.rights).to_string(),
        }
    }
}

impl Show for CredentialView {
    fn show(&self) -> String {
        let mut out = fields(&[
            ("access key", self.access_key.clone()),
            ("secret key", self.secret_key.clone()),
            ("description", self.description.clone()),
            ("rights", self.rights.clone()),
        ]);
        if !self.secret_key.is_empty() {
            out += "keep the secret key: it is not shown again\n";
        }
        out
    }
}

/// A tenant's credentials.
#[derive(Clone, Debug, Serialize)]
pub struct CredentialsView {
    /// By access key; never with their secrets.
    pub credentials: Vec<CredentialView>,
}

impl Show for CredentialsView {
    fn show(&self) -> String {
        let rows = self.credentials.iter().map(|credential| {
            let description = dash(&credential.description);
            let created = timestamp(credential.created_unix_ms);
            vec![credential.access_key.clone(), created, credential.rights.clone(), description]
        });
        table(&["access key", "created", "rights", "description"], rows.collect(), "no credentials")
    }
}

/// A command that has nothing to tell but that it was done.
#[derive(Clone, Debug, Serialize)]
pub struct DoneView {
    /// What was done, for people.
    pub done: String,
}

impl Show for DoneView {
    fn show(&self) -> String {
        format!("{}\n", self.done)
    }
}
