//! RFC 2136 section 3 as its pseudocode says it: a zone is a list of records, and every step walks it.

use switchback_dns::core::name::Name;
use switchback_dns::core::receive::{Class, Code, Entry};
use switchback_dns::core::record::{Kind, Rdata};

/// A record, its value in lower case: of the types here all letters in values are those of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) name: Name,
    pub(crate) kind: Kind,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) origin: Name,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn lower(data: &Rdata) -> Vec<u8> {
    data.as_bytes().to_ascii_lowercase()
}

fn is_meta(kind: Kind) -> bool {
    (128..=255).contains(&kind.0) || kind.0 == 41
}

impl Model {
    fn set(&self, name: &Name, kind: Kind) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.name == *name && row.kind == kind).collect()
    }

    fn is_used(&self, name: &Name) -> bool {
        self.rows.iter().any(|row| row.name == *name)
    }

    fn serial(&self) -> Option<u32> {
        let start = self.set(&self.origin, Kind::SOA);
        Some(Rdata::from_wire(start.first()?.data.clone()).value().serial()?.0)
    }

    /// Section 3.2.5.
    pub(crate) fn demand(&self, demands: &[Entry]) -> Result<(), Code> {
        let mut temp: Vec<(&Name, Kind, Vec<u8>)> = Vec::new();
        for rr in demands {
            if rr.ttl != 0 {
                return Err(Code::FormErr);
            }
            if !rr.owner.is_within(&self.origin) {
                return Err(Code::NotZone);
            }
            if rr.class == Class::Any {
                if rr.data.is_some() {
                    return Err(Code::FormErr);
                }
                if rr.kind == Kind::ANY {
                    if !self.is_used(&rr.owner) {
                        return Err(Code::NxDomain);
                    }
                } else if self.set(&rr.owner, rr.kind).is_empty() {
                    return Err(Code::NxRrset);
                }
            } else if rr.class == Class::None {
                if rr.data.is_some() {
                    return Err(Code::FormErr);
                }
                if rr.kind == Kind::ANY {
                    if self.is_used(&rr.owner) {
                        return Err(Code::YxDomain);
                    }
                } else if !self.set(&rr.owner, rr.kind).is_empty() {
                    return Err(Code::YxRrset);
                }
            } else if let (Class::In, Some(data)) = (rr.class, &rr.data) {
                temp.push((&rr.owner, rr.kind, lower(data)));
            } else {
                return Err(Code::FormErr);
            }
        }
        for &(name, kind, _) in &temp {
            let mut wanted: Vec<_> = temp
                .iter()
                .filter(|other| (other.0, other.1) == (name, kind))
                .map(|other| &other.2)
                .collect();
            let mut held: Vec<_> = self.set(name, kind).into_iter().map(|row| &row.data).collect();
            wanted.sort();
            wanted.dedup();
            held.sort();
            if wanted != held {
                return Err(Code::NxRrset);
            }
        }
        Ok(())
    }

    /// Section 3.4.1.3.
    pub(crate) fn prescan(&self, updates: &[Entry]) -> Result<(), Code> {
        for rr in updates {
            if !rr.owner.is_within(&self.origin) {
                return Err(Code::NotZone);
            }
            let is_malformed = match rr.class {
                Class::In => is_meta(rr.kind) || rr.data.is_none(),
                Class::Any => rr.ttl != 0 || rr.data.is_some() || is_meta(rr.kind) && rr.kind != Kind::ANY,
                Class::None => rr.ttl != 0 || is_meta(rr.kind) || rr.data.is_none(),
                Class::Other => true,
            };
            if is_malformed {
                return Err(Code::FormErr);
            }
        }
        Ok(())
    }

    /// Section 3.4.2.7.
    pub(crate) fn update(&mut self, updates: &[Entry]) {
        for rr in updates {
            let (at, kind) = (&rr.owner, rr.kind);
            let at_apex = *at == self.origin;
            match (rr.class, &rr.data) {
                (Class::In, Some(data)) => self.add(rr, data),
                (Class::Any, _) if kind == Kind::ANY && at_apex => {
                    self.rows.retain(|row| row.name != *at || [Kind::SOA, Kind::NS].contains(&row.kind));
                }
                (Class::Any, _) if kind == Kind::ANY => self.rows.retain(|row| row.name != *at),
                (Class::Any, _) if at_apex && [Kind::SOA, Kind::NS].contains(&kind) => {}
                (Class::Any, _) => self.rows.retain(|row| row.name != *at || row.kind != kind),
                (Class::None, Some(data)) => {
                    let is_last = kind == Kind::NS && at_apex && self.set(at, kind).len() == 1;
                    if kind != Kind::SOA && !is_last {
                        let gone = |row: &Row| row.name == *at && row.kind == kind && row.data == lower(data);
                        self.rows.retain(|row| !gone(row));
                    }
                }
                other => panic!("{other:?} passed the prescan"),
            }
        }
    }

    fn add(&mut self, rr: &Entry, data: &Rdata) {
        let (at, kind) = (&rr.owner, rr.kind);
        let is_beside = |row: &Row| {
            row.name == *at
                && if kind == Kind::CNAME { row.kind != Kind::CNAME } else { row.kind == Kind::CNAME }
        };
        if self.rows.iter().any(is_beside) {
            return;
        }
        if kind == Kind::SOA {
            let offered = data.value().serial().unwrap().0;
            let ahead = self.serial().map(|held| offered.wrapping_sub(held));
            if *at != self.origin || ahead.is_none_or(|ahead| ahead == 0 || ahead >= 1 << 31) {
                return;
            }
        }
        let is_replaced = |row: &Row| {
            let is_one = [Kind::CNAME, Kind::SOA].contains(&kind);
            row.name == *at && row.kind == kind && (is_one || row.data == lower(data))
        };
        self.rows.retain(|row| !is_replaced(row));
        // RFC 2181 sections 5.2 and 8.
        let ttl = if rr.ttl > i32::MAX as u32 { 0 } else { rr.ttl };
        for row in self.rows.iter_mut().filter(|row| row.name == *at && row.kind == kind) {
            row.ttl = ttl;
        }
        self.rows.push(Row { name: at.clone(), kind, ttl, data: lower(data) });
    }
}
