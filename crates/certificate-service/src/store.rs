//! What is remembered, in families of [`Db`]; the records are protobuf
//! (`switchback.certificate.record.v1`).
//!
//! | family | key | record | holds |
//! |---|---|---|---|
//! | `own` | `current` | `Own` | the system's certificate and its private key |
//! | `trusted` | fingerprint, 32 bytes | `Trusted` | a certificate of another system |
//! | `withdrawn` | fingerprint, 32 bytes | `Withdrawn` | that it was trusted until then |
//! | `answer` | number, 8 bytes big-endian | `Answer` | what a command was answered, by age |
//!
//! A decision's changes are one batch: a crash leaves all of them or none. The folder has mode
//! 0700; whoever reads it has the system's identity.

use prost::Message;
use rustls_pki_types::CertificateDer;
use switchback_kit::durable::{Batch, Db, Record};
use switchback_model::RequestId;
use switchback_proto::certificate::record::v1 as record;

use crate::Error;
use crate::core::{
    Answer, Certificate, Change, Command, Fingerprint, Own, PrivateKey, State, Trusted, WallTime,
};
use crate::read;

const OWN: &str = "own";
const CURRENT: &[u8] = b"current";
const TRUSTED: &str = "trusted";
const WITHDRAWN: &str = "withdrawn";
const ANSWER: &str = "answer";

/// The change that a record stands for, unless it is damaged.
type Decode = fn(&Record) -> Option<Change>;

/// The state that the records in `db` make.
pub(crate) fn load(db: &Db) -> Result<State, Error> {
    let mut changes = Vec::new();
    if let Some(value) = db.get(OWN, CURRENT)? {
        changes.push(decode_own(&value).ok_or_else(|| damaged(OWN, CURRENT))?);
    }
    let families: [(&str, Decode); 3] =
        [(TRUSTED, decode_trusted), (WITHDRAWN, decode_withdrawn), (ANSWER, decode_answer)];
    for (family, decode) in families {
        for found in db.scan(family)? {
            changes.push(decode(&found).ok_or_else(|| damaged(family, &found.0))?);
        }
    }
    Ok(State::recover(changes))
}

fn damaged(family: &str, key: &[u8]) -> Error {
    Error::Damaged { record: format!("{family}/{}", hex::encode(key)) }
}

/// The records that `changes` put and remove.
pub(crate) fn batch(changes: &[Change]) -> Batch {
    let mut batch = Batch::default();
    for change in changes {
        match change {
            Change::PutOwn(own) => batch.put(OWN, CURRENT, &encode_own(own)),
            Change::PutTrusted(trusted) => {
                batch.put(TRUSTED, &key(&trusted.certificate.fingerprint), &encode_trusted(trusted));
            }
            Change::RemoveTrusted(fingerprint) => batch.remove(TRUSTED, &key(fingerprint)),
            Change::PutWithdrawn(fingerprint, until) => {
                let value = record::Withdrawn { deleted_unix_ms: until.0 };
                batch.put(WITHDRAWN, &key(fingerprint), &value.encode_to_vec());
            }
            Change::RemoveWithdrawn(fingerprint) => batch.remove(WITHDRAWN, &key(fingerprint)),
            Change::PutAnswer(number, request, answer) => {
                batch.put(ANSWER, &number.to_be_bytes(), &encode_answer(request, answer));
            }
            Change::RemoveAnswer(number) => batch.remove(ANSWER, &number.to_be_bytes()),
        }
    }
    batch
}

/// The bytes of a fingerprint.
pub(crate) fn key(fingerprint: &Fingerprint) -> Vec<u8> {
    hex::decode(&fingerprint.0).expect("a fingerprint is made of hexadecimal digits")
}

fn certificate(der: &[u8]) -> Option<Certificate> {
    read::certificate(&CertificateDer::from(der))
}

fn encode_own(own: &Own) -> Vec<u8> {
    let value = record::Own {
        certificate: own.certificate.der.clone().into(),
        private_key: own.key.0.clone().into(),
        made_unix_ms: own.made.0,
    };
    value.encode_to_vec()
}

fn decode_own(value: &[u8]) -> Option<Change> {
    let own = record::Own::decode(value).ok()?;
    Some(Change::PutOwn(Own {
        certificate: certificate(&own.certificate)?,
        key: PrivateKey(own.private_key.to_vec()),
        made: WallTime(own.made_unix_ms),
    }))
}

fn encode_trusted(trusted: &Trusted) -> Vec<u8> {
    let der = trusted.certificate.der.clone().into();
    record::Trusted { certificate: der, uploaded_unix_ms: trusted.uploaded.0 }.encode_to_vec()
}

fn decode_trusted((at, value): &Record) -> Option<Change> {
    let trusted = record::Trusted::decode(value.as_slice()).ok()?;
    let certificate = certificate(&trusted.certificate)?;
    let uploaded = WallTime(trusted.uploaded_unix_ms);
    (key(&certificate.fingerprint) == *at).then_some(Change::PutTrusted(Trusted { certificate, uploaded }))
}

fn decode_withdrawn((at, value): &Record) -> Option<Change> {
    let withdrawn = record::Withdrawn::decode(value.as_slice()).ok()?;
    let until = WallTime(withdrawn.deleted_unix_ms);
    (at.len() == 32).then(|| Change::PutWithdrawn(Fingerprint(hex::encode(at)), until))
}

fn encode_answer(request: &RequestId, answer: &Answer) -> Vec<u8> {
    let command = match answer.command {
        Command::Upload => 1,
        Command::Delete => 2,
        Command::Renew => 3,
    };
    let value = record::Answer {
        request_id: request.0.clone(),
        command,
        subject: answer.subject.clone(),
        certificate: answer.certificate.der.clone().into(),
        uploaded_unix_ms: answer.uploaded.0,
        already_trusted: answer.already_trusted,
    };
    value.encode_to_vec()
}

fn decode_answer((at, value): &Record) -> Option<Change> {
    let answer = record::Answer::decode(value.as_slice()).ok()?;
    let command = match answer.command {
        1 => Command::Upload,
        2 => Command::Delete,
        3 => Command::Renew,
        _ => return None,
    };
    let number = u64::from_be_bytes(at.as_slice().try_into().ok()?);
    let decoded = Answer {
        command,
        subject: answer.subject,
        certificate: certificate(&answer.certificate)?,
        uploaded: WallTime(answer.uploaded_unix_ms),
        already_trusted: answer.already_trusted,
    };
    Some(Change::PutAnswer(number, RequestId(answer.request_id), decoded))
}
