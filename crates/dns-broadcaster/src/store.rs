//! What the broadcaster remembers.
//!
//! | family | key | value |
//! |---|---|---|
//! | `zone` | the zone's name | [`ZoneRecord`]: one tenant's zone |
//! | `desired` | `desired` | [`DesiredRecord`]: the system's zone, and the request heard last |
//! | `put` | a tenant's name, a target | [`PutRecord`]: names that may stand in a zone of that target |
//! | `key` | the key's tag | [`KeyRecord`]: a key that zones are signed with |
//! | `renewal` | the zone's name, as maps of names have it | [`RenewalRecord`]: the serial that a signed zone is served under |
//! | `taken` | a zone's name, a name in it | `TakenRecord`: sets of records that were taken by update |
//! | `number` | the zone's name | `NumberRecord`: the serial of a zone of the operator's, when it is not its file's |
//! | `seen` | a TSIG key, a time and a MAC | `SeenRecord`: what a signed update was answered |
//!
//! A request of many zones takes several commits, the `desired` record in the last one. After a
//! crash in between some zones are new and some are old; each is true by its own serial, and the
//! caller, who got no answer, asks again. What an update brings is all in the last one.

mod received;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use switchback_kit::durable::{Batch, Db};
use switchback_proto::dns::record::v1::{
    CatalogueRecord, DesiredRecord, KeyRecord, KeyStage, NameServerRecord, PutRecord, RenewalRecord,
    SystemRecord, ZoneRecord,
};

use crate::Error;
use crate::convert::{addresses, gateway, gateway_parts, keys, name, place, texts};
use crate::core::apply::{Plan, Record};
use crate::core::catalogue::{Catalogue, Members};
use crate::core::dnssec::key::Algorithm;
use crate::core::dnssec::renewal::{Basis, Changes, Renewal, Renewals};
use crate::core::dnssec::roll::Stage;
use crate::core::dnssec::sign::Signer as _;
use crate::core::name::Name;
use crate::core::zone::{NameServer, Serial, System, Tenant, TenantContent};
use crate::own::Numbered;
use crate::signer::{Kept, KeyPair, Keyring};

pub(crate) use self::received::{Received, Sighted};

const ZONE: &str = "zone";
const DESIRED: &str = "desired";
const PUT: &str = "put";
const KEY: &str = "key";
const RENEWAL: &str = "renewal";

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

    /// Under which serials zones are served that are signed, or were.
    pub(crate) fn renewals(&self) -> Result<Renewals, Error> {
        let mut renewals = BTreeMap::new();
        for (key, value) in self.0.scan(RENEWAL)? {
            let shown = key.escape_ascii().to_string();
            let record = RenewalRecord::decode(&*value).map_err(|error| damaged(&shown, &error))?;
            let name = Name::of_key(&key).ok_or_else(|| damaged(&shown, &"it is no name"))?;
            let renewal = Renewal {
                given: Serial(record.given),
                served: Serial(record.served),
                expires: record.expires,
                basis: Basis(record.basis),
            };
            renewals.insert(name, renewal);
        }
        Ok(Renewals::new(renewals))
    }

    /// The keys that zones are signed with.
    pub(crate) fn keys(&self) -> Result<Vec<Kept>, Error> {
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            let key = String::from_utf8_lossy(&key);
            let record = KeyRecord::decode(&*value).map_err(|error| damaged(&key, &error))?;
            let number = u8::try_from(record.algorithm).ok();
            let pair = number
                .and_then(Algorithm::of_number)
                .and_then(|algorithm| KeyPair::read(algorithm, &record.pkcs8));
            let pair = pair.ok_or_else(|| damaged(&key, &"it is no key of ours"))?;
            let stage = match record.stage() {
                KeyStage::Active => Stage::Active,
                KeyStage::Next => Stage::Next,
                KeyStage::Retired => Stage::Retired,
            };
            Ok(Kept { pair: Arc::new(pair), stage, since: record.since })
        };
        self.0.scan(KEY)?.into_iter().map(read).collect()
    }

    /// Makes `keyring` durable in the place of `before`, all at once.
    pub(crate) async fn put_keys(&self, keyring: &Keyring, before: &Keyring) -> Result<(), Error> {
        Ok(self.0.commit_async(keys_batch(keyring, Some(before))).await?)
    }

    /// As [`Store::put_keys`], of the first key there is.
    pub(crate) fn put_keys_blocking(&self, keyring: &Keyring) -> Result<(), Error> {
        Ok(self.0.commit(keys_batch(keyring, None))?)
    }

    /// Makes the plan's outcome durable, and with it what serials it is served under, and what an update
    /// brought.
    pub(crate) async fn commit(
        &self,
        plan: &Plan,
        renewed: &Changes,
        received: &Received,
    ) -> Result<(), Error> {
        for batch in batches(plan, renewed, received) {
            self.0.commit_async(batch).await?;
        }
        Ok(())
    }

    /// As [`Store::commit`], before anybody is served.
    pub(crate) fn commit_blocking(
        &self,
        plan: &Plan,
        renewed: &Changes,
        received: &Received,
    ) -> Result<(), Error> {
        Ok(batches(plan, renewed, received).try_for_each(|batch| self.0.commit(batch))?)
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

fn keys_batch(keyring: &Keyring, before: Option<&Keyring>) -> Batch {
    let mut batch = Batch::default();
    let name = |kept: &Kept| format!("{:04x}", kept.pair.key().tag());
    for gone in before.into_iter().flat_map(Keyring::keys) {
        batch.remove(KEY, name(gone).as_bytes());
    }
    for kept in keyring.keys() {
        let stage = match kept.stage {
            Stage::Active => KeyStage::Active,
            Stage::Next => KeyStage::Next,
            Stage::Retired => KeyStage::Retired,
        };
        let record = KeyRecord {
            algorithm: kept.pair.key().algorithm().number().into(),
            pkcs8: kept.pair.pkcs8().to_vec().into(),
            stage: stage.into(),
            since: kept.since,
        };
        batch.put(KEY, name(kept).as_bytes(), &record.encode_to_vec());
    }
    batch
}

fn batches<'a>(
    plan: &'a Plan,
    renewed: &'a Changes,
    received: &'a Received,
) -> impl Iterator<Item = Batch> + use<'a> {
    let puts = plan.puts.iter().filter_map(|name| plan.next.tenants.get(name)).map(Change::Put);
    let zones = puts.chain(plan.removals.iter().map(Change::Remove));
    let renewed = renewed.iter().map(|(name, renewal)| Change::Renew(name, renewal.as_ref()));
    let numbers = received.renumbered.iter().map(|(name, number)| Change::Number(name, *number));
    let changes: Vec<_> = zones.chain(renewed).chain(numbers).collect();
    let count = (changes.len() + received.operations()).div_ceil(COMMIT_OPERATIONS_MAX).max(1);
    // The last one has room for all that must not be torn apart.
    let count = count.max(changes.len().div_ceil(COMMIT_OPERATIONS_MAX) + usize::from(count > 1));
    (0..count).map(move |number| {
        let mut batch = Batch::default();
        for change in changes.iter().skip(number * COMMIT_OPERATIONS_MAX).take(COMMIT_OPERATIONS_MAX) {
            match change {
                Change::Put(tenant) => {
                    batch.put(ZONE, tenant.name.to_string().as_bytes(), &encode_zone(tenant));
                }
                Change::Remove(name) => batch.remove(ZONE, name.to_string().as_bytes()),
                Change::Renew(name, Some(renewal)) => {
                    batch.put(RENEWAL, name.as_bytes(), &encode_renewal(renewal));
                }
                Change::Renew(name, None) => batch.remove(RENEWAL, name.as_bytes()),
                Change::Number(name, number) => received::number(&mut batch, name, *number),
            }
        }
        if number + 1 == count {
            batch.put(DESIRED, DESIRED.as_bytes(), &encode_desired(&plan.next));
            received.write(&mut batch);
        }
        batch
    })
}

enum Change<'a> {
    Put(&'a Tenant),
    Remove(&'a Name),
    Renew(&'a Name, Option<&'a Renewal>),
    Number(&'a Name, Option<Numbered>),
}

fn encode_renewal(renewal: &Renewal) -> Vec<u8> {
    let Renewal { given, served, expires, basis } = *renewal;
    RenewalRecord { given: given.0, served: served.0, expires, basis: basis.0 }.encode_to_vec()
}

fn damaged(key: &str, error: &impl ToString) -> Error {
    Error::Damaged { key: key.into(), reason: error.to_string() }
}

fn encode_desired(record: &Record) -> Vec<u8> {
    let system = record.system.as_ref().map(|system| {
        let (host, https) = gateway_parts(&system.gateway);
        SystemRecord {
            domain: system.domain.to_string(),
            addresses: texts(&system.gateway.addresses),
            name_server_addresses: texts(&system.name_server_addresses),
            own: system.own.to_vec().into(),
            host,
            https,
        }
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
        gateway: gateway(&record.addresses, &record.host, record.https.as_ref())?,
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
    let (host, https) = gateway_parts(&tenant.content.gateway);
    ZoneRecord {
        serial: tenant.serial.0,
        addresses: texts(&tenant.content.gateway.addresses),
        name_servers: servers.collect(),
        ttl_seconds: tenant.content.ttl,
        link: tenant.link.clone(),
        target: tenant.target.clone(),
        epoch: tenant.content.place.map_or(0, |place| place.epoch),
        generation: tenant.content.place.map_or(0, |place| place.generation),
        dnskeys: tenant.peer_keys.iter().map(|key| key.rdata().into()).collect(),
        host,
        https,
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
            gateway: gateway(&record.addresses, &record.host, record.https.as_ref())?,
            name_servers: servers.collect::<Result<_, String>>()?,
            ttl: record.ttl_seconds,
            place: place(&record.link, record.epoch, record.generation),
        },
        link: record.link,
        target: record.target,
        peer_keys: keys(&record.dnskeys),
    })
}
