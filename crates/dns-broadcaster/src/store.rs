//! What the broadcaster remembers.
//!
//! | family | key | value |
//! |---|---|---|
//! | `zone` | the zone's name | [`ZoneRecord`]: one tenant's zone |
//! | `desired` | `desired` | [`DesiredRecord`]: the system's zone, and the request heard last |
//! | `put` | a tenant's name, a target | [`PutRecord`]: names that may stand in a zone of that target |
//!
//! A request of many zones takes several commits, the `desired` record in the last one. After a
//! crash in between some zones are new and some are old; each is true by its own serial, and the
//! caller, who got no answer, asks again.

use std::path::Path;

use prost::Message;
use switchback_kit::durable::{Batch, Db};
use switchback_proto::dns::record::v1::{
    CatalogueRecord, DesiredRecord, NameServerRecord, PutRecord, SystemRecord, ZoneRecord,
};

use crate::Error;
use crate::convert::{addresses, name, place, texts};
use crate::core::apply::{Plan, Record};
use crate::core::catalogue::{Catalogue, Members};
use crate::core::name::Name;
use crate::core::zone::{NameServer, Serial, System, Tenant, TenantContent};

const ZONE: &str = "zone";
const DESIRED: &str = "desired";
const PUT: &str = "put";

/// Operations in one commit; the engine takes a hundred, and the last commit adds one.
const COMMIT_OPERATIONS_MAX: usize = 90;

/// The durable record.
pub(crate) struct Store(Db);

impl Store {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self(Db::open(folder)?))
    }

    pub(crate) fn db(&self) -> Db {
        self.0.clone()
    }

    /// What is on record; empty before the first request ever.
    pub(crate) fn load(&self) -> Result<Record, Error> {
        let mut record = Record::default();
        if let Some(value) = self.0.get(DESIRED, DESIRED.as_bytes())? {
            let desired = DesiredRecord::decode(&*value).map_err(|error| damaged(DESIRED, &error))?;
            record.run = desired.run;
            record.generation = desired.generation;
            record.system_serial = Serial(desired.system_serial);
            record.life = desired.life;
            record.catalogue = desired.catalogue.map(decode_catalogue);
            record.system = desired
                .system
                .map(|system| decode_system(&system))
                .transpose()
                .map_err(|error| damaged(DESIRED, &error))?;
        }
        for (key, value) in self.0.scan(ZONE)? {
            let key = String::from_utf8_lossy(&key);
            let tenant = ZoneRecord::decode(&*value)
                .map_err(|error| error.to_string())
                .and_then(|zone| decode_zone(&key, zone))
                .map_err(|error| damaged(&key, &error))?;
            record.tenants.insert(tenant.name.clone(), tenant);
        }
        Ok(record)
    }

    /// Makes the plan's outcome durable.
    pub(crate) async fn commit(&self, plan: &Plan) -> Result<(), Error> {
        for batch in batches(plan) {
            self.0.commit_async(batch).await?;
        }
        Ok(())
    }

    /// As [`Store::commit`], before anybody is served.
    pub(crate) fn commit_blocking(&self, plan: &Plan) -> Result<(), Error> {
        Ok(batches(plan).try_for_each(|batch| self.0.commit(batch))?)
    }
}

/// The targets, and the tenants whose names may stand in their zones.
pub(crate) fn put_names(db: &Db) -> Result<Vec<(String, Name)>, Error> {
    let decoded = db.scan(PUT)?.into_iter().map(|(key, value)| {
        let decoded = PutRecord::decode(&*value).map_err(|error| error.to_string());
        let decoded = decoded.and_then(|record| Ok((record.target, name(&record.tenant)?)));
        decoded.map_err(|error| damaged(&String::from_utf8_lossy(&key), &error))
    });
    decoded.collect()
}

/// The tenant's names may stand in a zone of `target`.
pub(crate) fn remember_put(batch: &mut Batch, target: &str, tenant: &Name) {
    let record = PutRecord { target: target.into(), tenant: tenant.to_string() };
    batch.put(PUT, put_key(target, tenant).as_bytes(), &record.encode_to_vec());
}

/// They do not any more.
pub(crate) fn forget_put(batch: &mut Batch, target: &str, tenant: &Name) {
    batch.remove(PUT, put_key(target, tenant).as_bytes());
}

/// A name has no space in it.
fn put_key(target: &str, tenant: &Name) -> String {
    format!("{tenant} {target}")
}

fn batches(plan: &Plan) -> impl Iterator<Item = Batch> {
    let puts = plan.puts.iter().filter_map(|name| plan.next.tenants.get(name)).map(Change::Put);
    let changes: Vec<_> = puts.chain(plan.removals.iter().map(Change::Remove)).collect();
    let count = changes.len().div_ceil(COMMIT_OPERATIONS_MAX).max(1);
    (0..count).map(move |number| {
        let mut batch = Batch::default();
        for change in changes.iter().skip(number * COMMIT_OPERATIONS_MAX).take(COMMIT_OPERATIONS_MAX) {
            match change {
                Change::Put(tenant) => {
                    batch.put(ZONE, tenant.name.to_string().as_bytes(), &encode_zone(tenant));
                }
                Change::Remove(name) => batch.remove(ZONE, name.to_string().as_bytes()),
            }
        }
        if number + 1 == count {
            batch.put(DESIRED, DESIRED.as_bytes(), &encode_desired(&plan.next));
        }
        batch
    })
}

enum Change<'a> {
    Put(&'a Tenant),
    Remove(&'a Name),
}

fn damaged(key: &str, error: &impl ToString) -> Error {
    Error::Damaged { key: key.into(), reason: error.to_string() }
}

fn encode_desired(record: &Record) -> Vec<u8> {
    let system = record.system.as_ref().map(|system| SystemRecord {
        domain: system.domain.to_string(),
        addresses: texts(&system.addresses),
        name_server_addresses: texts(&system.name_server_addresses),
        own: system.own.to_vec().into(),
    });
    let catalogue = record.catalogue.as_ref().map(|catalogue| CatalogueRecord {
        life: catalogue.life.clone(),
        serial: catalogue.serial.0,
        members: catalogue.members.0.to_be_bytes().to_vec().into(),
    });
    DesiredRecord {
        run: record.run.clone(),
        generation: record.generation,
        system,
        system_serial: record.system_serial.0,
        life: record.life.clone(),
        catalogue,
    }
    .encode_to_vec()
}

fn decode_catalogue(record: CatalogueRecord) -> Catalogue {
    // Others than there are: then it is numbered anew.
    let members = record.members[..]
        .try_into()
        .map_or_else(|_| Members::default(), |bytes| Members(u128::from_be_bytes(bytes)));
    Catalogue { life: record.life, serial: Serial(record.serial), members }
}

fn decode_system(record: &SystemRecord) -> Result<System, String> {
    Ok(System {
        domain: name(&record.domain)?,
        addresses: addresses(&record.addresses)?,
        name_server_addresses: addresses(&record.name_server_addresses)?,
        // A record from before there were any has no digest.
        own: record.own[..].try_into().unwrap_or_default(),
    })
}

fn encode_zone(tenant: &Tenant) -> Vec<u8> {
    let servers = tenant.content.name_servers.iter().map(|server| NameServerRecord {
        name: server.name.to_string(),
        addresses: texts(&server.addresses),
    });
    ZoneRecord {
        serial: tenant.serial.0,
        addresses: texts(&tenant.content.addresses),
        name_servers: servers.collect(),
        ttl_seconds: tenant.content.ttl,
        link: tenant.link.clone(),
        target: tenant.target.clone(),
        epoch: tenant.content.place.map_or(0, |place| place.epoch),
        generation: tenant.content.place.map_or(0, |place| place.generation),
    }
    .encode_to_vec()
}

fn decode_zone(key: &str, record: ZoneRecord) -> Result<Tenant, String> {
    let servers = record
        .name_servers
        .iter()
        .map(|server| Ok(NameServer { name: name(&server.name)?, addresses: addresses(&server.addresses)? }));
    Ok(Tenant {
        name: name(key)?,
        serial: Serial(record.serial),
        content: TenantContent {
            addresses: addresses(&record.addresses)?,
            name_servers: servers.collect::<Result<_, String>>()?,
            ttl: record.ttl_seconds,
            place: place(&record.link, record.epoch, record.generation),
        },
        link: record.link,
        target: record.target,
    })
}
