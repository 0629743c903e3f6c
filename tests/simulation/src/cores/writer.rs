//! S3 clients: they call the store as the gateway does, choose a side and stay with it until it refuses,
//! as clients do whose resolver is late.

use std::collections::BTreeMap;

use switchback_model::{ContentId, ContentKind};
use switchback_store::{Body, Catalogue, Conditions, Error, Object};

use crate::chance::Chance;
use crate::cores::stage::{Event, Phase, Stage};
use crate::cores::{Trouble, at_once};
use crate::site::{NAME, NAMESPACE, Place, Service, System};

/// Clients at once.
const CLIENTS: u64 = 3;
/// Keys that all clients share: few, so that they meet.
const KEYS: u64 = 8;
/// Between two operations of a client, in milliseconds.
const PAUSE_MAX_MS: u64 = 400;

/// One client.
pub struct Writer {
    chance: Chance,
    system: System,
    turn: u64,
}

/// What came of an operation.
enum Answer {
    /// Done; with the ETag of what was written or read, if any.
    Done(Option<String>),
    /// Refused for a reason that is the client's own.
    Unmet,
    /// Refused, or never answered.
    No(&'static str),
}

impl Writer {
    /// All of them.
    #[must_use]
    pub fn all(seed: u64) -> Vec<Self> {
        let one = |number: u64| {
            let mut chance = Chance::new(seed, &format!("client {number}"));
            let system = chance.pick(&System::ALL);
            Self { chance, system, turn: 0 }
        };
        (0..CLIENTS).map(one).collect()
    }
}

impl Stage {
    /// One operation of a client, while the story is live.
    pub(super) fn write(&mut self, number: usize) {
        if self.phase != Phase::Live {
            return;
        }
        let Some(writer) = self.writers.get_mut(number) else { return };
        if writer.chance.one_in(20) {
            writer.system = writer.system.other();
        }
        writer.turn += 1;
        let (system, turn) = (writer.system, writer.turn);
        let (key, what) = (format!("k{}", writer.chance.below(KEYS)), writer.chance.below(16));
        let filler = usize::try_from(writer.chance.below(64)).unwrap_or(0);
        let pause = writer.chance.between(10, PAUSE_MAX_MS);
        let body = format!("{number}.{turn}.{}", "x".repeat(filler));
        let (name, answer) = self.operate_at(system, &key, what, body);
        let said = match &answer {
            Answer::Done(_) => "done",
            Answer::Unmet => "unmet",
            Answer::No(why) => why,
        };
        self.record.event(&format!("client {number} {name} {key} at {system}: {said}"));
        self.record.count(&format!("client: {name} {said}"));
        match &answer {
            Answer::Done(Some(etag)) if name == "get" => self.watch.read(system, &key, etag),
            Answer::Done(Some(etag)) => self.watch.acknowledged(system, &key, etag),
            Answer::Done(None) | Answer::Unmet | Answer::No(_) => {}
        }
        let Some(writer) = self.writers.get_mut(number) else { return };
        if matches!(answer, Answer::No(_)) && writer.chance.one_in(2) {
            writer.system = writer.system.other();
        }
        self.nudge(system);
        self.after(pause, Event::Write(number));
    }

    fn operate_at(&mut self, system: System, key: &str, what: u64, body: String) -> (&'static str, Answer) {
        let name = match what {
            0..=8 => "put",
            9..=11 => "delete",
            12 => "tag",
            13 => "configure",
            _ => "get",
        };
        let none = (name, Answer::No("no answer"));
        if !self.reaches(system, Service::Gateway, Service::DataMover) {
            return none;
        }
        let Some(mover) = &mut self.site(system).mover else { return none };
        let catalogue = mover.catalogue.clone();
        (mover.changed, mover.rings) = (true, true);
        let is_set = mover.is_set;
        let Ok(Some(content)) = catalogue.find_content(ContentKind::Tenant, NAME) else {
            return (name, Answer::No("no such tenant"));
        };
        let done = at_once(operation(&catalogue, content.id, key, what, body));
        let answer = match done {
            Ok(etag) => {
                let linked = catalogue.content(content.id).is_ok_and(|status| status.access.link.is_some());
                if linked && !is_set && name != "get" {
                    let text = format!("S2: {system} wrote before its access mode was set since the start");
                    self.record.violation(&text);
                }
                Answer::Done(etag)
            }
            Err(Error::PreconditionFailed | Error::NoSuchKey) => Answer::Unmet,
            Err(Error::ReadOnly(_)) => Answer::No("read-only"),
            Err(error) => {
                self.outcome::<()>(Place(system, Service::DataMover), Err(Trouble::from(error)));
                Answer::No("no answer")
            }
        };
        (name, answer)
    }
}

async fn operation(
    catalogue: &Catalogue,
    content: ContentId,
    key: &str,
    what: u64,
    body: String,
) -> Result<Option<String>, Error> {
    let current = || catalogue.object(content, NAMESPACE, key, true).map(|entry| entry.object.etag);
    match what {
        0..=8 => {
            let mut conditions = Conditions::default();
            match what {
                0 => conditions.if_none_match.push("*".into()),
                1 => conditions.if_match.push(current()?),
                _ => {}
            }
            let hash = *blake3::hash(body.as_bytes()).as_bytes();
            let etag = hex::encode(&hash[..16]);
            let object = Object {
                size: body.len() as u64,
                etag: etag.clone(),
                content_hash: hash,
                body: Body::Inline(body.into()),
                ..Object::default()
            };
            catalogue.put_object(content, NAMESPACE, key, object, conditions).await?;
            Ok(Some(etag))
        }
        9..=11 => {
            let results = catalogue.delete_objects(content, NAMESPACE, vec![key.into()]).await?;
            results.into_iter().try_for_each(|result| result.map(|_| ())).map(|()| None)
        }
        12 => {
            let tags = BTreeMap::from([("tag".to_owned(), body)]);
            catalogue.set_tags(content, NAMESPACE, key, None, tags).await.map(|_| None)
        }
        13 => {
            let settings = BTreeMap::from([("setting".to_owned(), body)]);
            catalogue.set_settings(content, settings).await.map(|()| None)
        }
        _ => current().map(Some),
    }
}
