//! Object lock: of buckets, a setting; of versions, with the version. Enforced by the store, in the commit.

use std::collections::BTreeMap;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::set_lock_request::Change;
use switchback_proto::store::v1::{self as store, SetLockRequest};
use switchback_store::{OBJECT_LOCK, ObjectLock, Period, VERSIONING, Versioning};

use super::object::lookup;
use super::time::{millis, stamp};
use super::{Gateway, asked_version, place, refused, setting, writable};
use crate::auth::Place;
use crate::store::answer;

/// The lock that a new object is asked to have.
pub(super) fn given(
    mode: Option<&str>,
    until: Option<&Timestamp>,
    hold: Option<&str>,
) -> S3Result<Option<store::Lock>> {
    let legal_hold = match hold {
        None | Some(ObjectLockLegalHoldStatus::OFF) => false,
        Some(ObjectLockLegalHoldStatus::ON) => true,
        Some(other) => {
            return Err(s3_error!(InvalidArgument, "unknown legal hold {other}: expected ON or OFF"));
        }
    };
    let lock = match (mode, until) {
        (None, None) => store::Lock { legal_hold, ..Default::default() },
        (Some(mode), Some(until)) => {
            store::Lock { mode: mode.to_owned(), retain_until_unix_ms: millis(until), legal_hold }
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err(s3_error!(
                InvalidArgument,
                "a retention has a mode and a date: send both x-amz-object-lock-mode and x-amz-object-lock-retain-until-date, or neither"
            ));
        }
    };
    Ok((lock != store::Lock::default()).then_some(lock))
}

/// Reads the lock of an S3 request, whatever its operation.
macro_rules! given_lock {
    ($input:expr) => {
        $crate::s3::lock::given(
            $input.object_lock_mode.as_ref().map(s3s::dto::ObjectLockMode::as_str),
            $input.object_lock_retain_until_date.as_ref(),
            $input.object_lock_legal_hold_status.as_ref().map(s3s::dto::ObjectLockLegalHoldStatus::as_str),
        )?
    };
}
pub(super) use given_lock;

/// Sets the lock's fields of an S3 answer, but for what is hidden.
macro_rules! set_lock {
    ($output:expr, $lock:expr, $hidden:expr) => {
        if let Some(lock) = $lock {
            let (retention, hold) = $crate::s3::lock::told(lock);
            if let Some((mode, until)) = retention.filter(|_| !$hidden.retention) {
                $output.object_lock_mode = Some(mode.into());
                $output.object_lock_retain_until_date = Some(until);
            }
            $output.object_lock_legal_hold_status = hold.filter(|_| !$hidden.hold);
        }
    };
}
pub(super) use set_lock;

/// Mode and end of the retention, and the hold, as clients are told them.
pub(super) fn told(lock: &store::Lock) -> (Option<(String, Timestamp)>, Option<ObjectLockLegalHoldStatus>) {
    let retention = (!lock.mode.is_empty()).then(|| (lock.mode.clone(), stamp(lock.retain_until_unix_ms)));
    let on = ObjectLockLegalHoldStatus::from_static(ObjectLockLegalHoldStatus::ON);
    (retention, lock.legal_hold.then_some(on))
}

/// What a bucket with a lock has set: the lock, and versioning, which it needs.
pub(super) fn settings(lock: ObjectLock) -> BTreeMap<String, String> {
    let versioning = Versioning::Enabled.setting().map(|enabled| (VERSIONING.to_owned(), enabled.to_owned()));
    versioning.into_iter().chain([(OBJECT_LOCK.to_owned(), lock.setting())]).collect()
}

/// `PutObjectLockConfiguration`. A bucket must be versioned first, as S3 has it.
pub(super) async fn put_bucket(
    gateway: &Gateway,
    request: S3Request<PutObjectLockConfigurationInput>,
) -> S3Result<S3Response<PutObjectLockConfigurationOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let asked = request.input.object_lock_configuration.unwrap_or_default();
    let enabled = asked.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str);
    if enabled != Some(ObjectLockEnabled::ENABLED) {
        return Err(s3_error!(MalformedXML, "ObjectLockEnabled: expected Enabled"));
    }
    let rule = asked.rule.map(|rule| rule.default_retention.unwrap_or_default());
    let lock = ObjectLock { default: rule.map(default_retention).transpose()? };
    let value = Some(lock.setting());
    setting::set(gateway, place, OBJECT_LOCK, value).await?;
    Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
}

fn default_retention(
    DefaultRetention { mode, days, years }: DefaultRetention,
) -> S3Result<(switchback_store::RetentionMode, Period)> {
    let wrong = || {
        s3_error!(
            MalformedXML,
            "DefaultRetention: expected a Mode (GOVERNANCE, COMPLIANCE) with Days or Years of at least 1"
        )
    };
    let mode = mode.and_then(|mode| mode.as_str().parse().ok()).ok_or_else(wrong)?;
    let number = |number: i32| u32::try_from(number).ok().filter(|number| *number > 0).ok_or_else(wrong);
    match (days, years) {
        (Some(days), None) => Ok((mode, Period::Days(number(days)?))),
        (None, Some(years)) => Ok((mode, Period::Years(number(years)?))),
        (Some(_), Some(_)) | (None, None) => Err(wrong()),
    }
}

/// `GetObjectLockConfiguration`.
pub(super) async fn get_bucket(
    gateway: &Gateway,
    request: S3Request<GetObjectLockConfigurationInput>,
) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let Some(text) = setting::get(&gateway.store, place, OBJECT_LOCK).await.map_err(refused)? else {
        return Err(s3_error!(ObjectLockConfigurationNotFoundError, "the bucket has no object lock"));
    };
    let lock: ObjectLock =
        text.parse().map_err(|_| s3_error!(InternalError, "the bucket's object lock cannot be read"))?;
    let rule = lock.default.map(|(mode, period)| {
        let (days, years) = match period {
            Period::Days(days) => (i32::try_from(days).ok(), None),
            Period::Years(years) => (None, i32::try_from(years).ok()),
        };
        let mode = Some(ObjectLockRetentionMode::from_static(mode.name()));
        ObjectLockRule { default_retention: Some(DefaultRetention { days, mode, years }) }
    });
    let object_lock_enabled = Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED));
    let object_lock_configuration = Some(ObjectLockConfiguration { object_lock_enabled, rule });
    Ok(S3Response::new(GetObjectLockConfigurationOutput { object_lock_configuration }))
}

async fn set(
    gateway: &Gateway,
    Place { content, namespace }: Place,
    (key, version_id): (String, Option<&str>),
    change: Change,
    bypass_governance: bool,
) -> S3Result<()> {
    writable(&key)?;
    let (content, change, version_id) = (Some(content), Some(change), asked_version(version_id)?);
    let call = SetLockRequest { content, namespace, key, version_id, change, bypass_governance };
    answer(gateway.store.client().set_lock(call)).await.map_err(refused)?;
    Ok(())
}

/// `PutObjectRetention`.
pub(super) async fn put_retention(
    gateway: &Gateway,
    request: S3Request<PutObjectRetentionInput>,
) -> S3Result<S3Response<PutObjectRetentionOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    let ObjectLockRetention { mode, retain_until_date } = input.retention.unwrap_or_default();
    let mode = mode.as_ref().map(ObjectLockRetentionMode::as_str);
    let lock = given(mode, retain_until_date.as_ref(), None)?.unwrap_or_default();
    let bypass = input.bypass_governance_retention == Some(true);
    let which = (input.key, input.version_id.as_deref());
    set(gateway, place, which, Change::Retention(lock), bypass).await?;
    Ok(S3Response::new(PutObjectRetentionOutput::default()))
}

/// `PutObjectLegalHold`.
pub(super) async fn put_hold(
    gateway: &Gateway,
    request: S3Request<PutObjectLegalHoldInput>,
) -> S3Result<S3Response<PutObjectLegalHoldOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    let status = input.legal_hold.and_then(|hold| hold.status);
    let Some(status) = status.as_ref().map(ObjectLockLegalHoldStatus::as_str) else {
        return Err(s3_error!(MalformedXML, "LegalHold: expected a Status, ON or OFF"));
    };
    let hold = given(None, None, Some(status))?.is_some();
    set(gateway, place, (input.key, input.version_id.as_deref()), Change::LegalHold(hold), false).await?;
    Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
}

async fn lock_of(
    gateway: &Gateway,
    place: Place,
    key: &str,
    version_id: Option<&str>,
) -> S3Result<store::Lock> {
    let (object, _) = lookup(gateway, &place, key, &asked_version(version_id)?, false).await?;
    let none = || s3_error!(NoSuchObjectLockConfiguration, "the version has no object lock of this kind");
    object.lock.ok_or_else(none)
}

/// `GetObjectRetention`.
pub(super) async fn get_retention(
    gateway: &Gateway,
    request: S3Request<GetObjectRetentionInput>,
) -> S3Result<S3Response<GetObjectRetentionOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = &request.input;
    let lock = lock_of(gateway, place, &input.key, input.version_id.as_deref()).await?;
    let Some((mode, until)) = told(&lock).0 else {
        return Err(s3_error!(NoSuchObjectLockConfiguration, "the version has no retention"));
    };
    let retention = ObjectLockRetention { mode: Some(mode.into()), retain_until_date: Some(until) };
    Ok(S3Response::new(GetObjectRetentionOutput { retention: Some(retention) }))
}

/// `GetObjectLegalHold`.
pub(super) async fn get_hold(
    gateway: &Gateway,
    request: S3Request<GetObjectLegalHoldInput>,
) -> S3Result<S3Response<GetObjectLegalHoldOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = &request.input;
    let lock = lock_of(gateway, place, &input.key, input.version_id.as_deref()).await?;
    let off = || ObjectLockLegalHoldStatus::from_static(ObjectLockLegalHoldStatus::OFF);
    let status = Some(told(&lock).1.unwrap_or_else(off));
    Ok(S3Response::new(GetObjectLegalHoldOutput { legal_hold: Some(ObjectLockLegalHold { status }) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_has_both_its_halves_or_none() {
        let until = stamp(1_700_000_000_000);
        let lock = given(Some("GOVERNANCE"), Some(&until), Some("ON")).unwrap().unwrap();
        let expected = store::Lock {
            mode: "GOVERNANCE".into(),
            retain_until_unix_ms: 1_700_000_000_000,
            legal_hold: true,
        };
        assert_eq!(lock, expected);
        assert_eq!(given(None, None, Some("OFF")).unwrap(), None);
        for wrong in [
            given(Some("GOVERNANCE"), None, None),
            given(None, Some(&until), None),
            given(None, None, Some("on")),
        ] {
            assert_eq!(wrong.unwrap_err().code().as_str(), "InvalidArgument");
        }
    }

    #[test]
    fn a_default_retention_counts_days_or_years() {
        let asked = |mode: &str, days, years| {
            let mode = Some(ObjectLockRetentionMode::from(mode.to_owned()));
            default_retention(DefaultRetention { days, mode, years }).map(|(_, period)| period).ok()
        };
        assert_eq!(asked("GOVERNANCE", Some(1), None), Some(Period::Days(1)));
        assert_eq!(asked("COMPLIANCE", None, Some(2)), Some(Period::Years(2)));
        for (mode, days, years) in [
            ("GOVERNANCE", None, None),
            ("GOVERNANCE", Some(1), Some(1)),
            ("GOVERNANCE", Some(0), None),
            ("X", Some(1), None),
        ] {
            assert_eq!(asked(mode, days, years), None);
        }
    }
}
