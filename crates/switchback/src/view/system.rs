//! A system, its services, and the one screen that shows it all.

use std::fmt::Write as _;

use serde::Serialize;

use super::content::ContentsView;
use super::link::LinksView;
use crate::output::{Show, fields, table};

/// One service's health.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceView {
    /// Its name.
    pub name: &'static str,
    /// Its internal listener.
    pub grpc: String,
    /// It answers, and says that it is well.
    pub serving: bool,
    /// Why it is not; empty when it is.
    pub trouble: String,
}

/// A system and its services.
#[derive(Clone, Debug, Serialize)]
pub struct SystemView {
    /// Short name.
    pub name: String,
    /// DNS domain.
    pub domain: String,
    /// Random at creation.
    pub system_id: String,
    /// The life of its state; empty while the link manager does not answer.
    pub incarnation: String,
    /// Of the program; empty while the link manager does not answer.
    pub version: String,
    /// All five.
    pub services: Vec<ServiceView>,
}

impl Show for SystemView {
    fn show(&self) -> String {
        let mut out = fields(&[
            ("system", self.name.clone()),
            ("domain", self.domain.clone()),
            ("id", self.system_id.clone()),
            ("incarnation", self.incarnation.clone()),
            ("version", self.version.clone()),
        ]);
        let rows = self.services.iter().map(|service| {
            let health = if service.serving { "serving".into() } else { service.trouble.clone() };
            vec![service.name.into(), service.grpc.clone(), health]
        });
        out += "\n";
        out += &table(&["service", "grpc", "health"], rows.collect(), "no services");
        out
    }
}

/// What `status` shows. A part that cannot be read is absent, and its reason is in `troubles`.
#[derive(Clone, Debug, Serialize)]
pub struct StatusView {
    /// The system and its services.
    pub system: SystemView,
    /// Its links.
    pub links: Option<LinksView>,
    /// Its tenants and directories.
    pub contents: Option<ContentsView>,
    /// Why a part is absent.
    pub troubles: Vec<String>,
}

impl Show for StatusView {
    fn show(&self) -> String {
        let mut out = self.system.show();
        if let Some(links) = &self.links {
            out += "\n";
            out += &links.show();
            for link in &links.links {
                for trouble in &link.troubles {
                    let _ = writeln!(out, "! {}: {trouble}", link.name);
                }
                if !link.next_step.is_empty() {
                    let _ = writeln!(out, "next: {}", link.next_step);
                }
            }
        }
        if let Some(contents) = &self.contents {
            out += "\n";
            out += &contents.show();
        }
        for trouble in &self.troubles {
            let _ = writeln!(out, "! {trouble}");
        }
        out
    }
}
