//! `ListMultipartUploads`: pages of open uploads, grouped by a delimiter as listings of objects are.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{self as store, ListUploadsRequest};

use super::bucket::owner;
use super::checksum::Algorithm;
use super::list::{Encoding, prefixes};
use super::multipart::checksum_type;
use super::time::stamp;
use super::{Gateway, caller, page, place, refused};
use crate::store::answer;

/// Uploads asked for at once: what the store gives.
const AT_ONCE_MAX: u32 = 1000;

/// Greater than every other character: behind the name of a group, behind nearly all in it.
const GREATEST: char = char::MAX;

/// A place in the order of uploads. With an empty identifier: behind all uploads of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marker {
    key: String,
    upload_id: String,
}

/// One page in the making.
struct Gathered {
    prefix: String,
    delimiter: String,
    entries_max: usize,
    uploads: Vec<store::Upload>,
    groups: Vec<String>,
    /// The group that was listed last, on this page or as the marker.
    listed: Option<String>,
    /// The last entry.
    last: Marker,
    truncated: bool,
}

impl Gathered {
    fn new(prefix: String, delimiter: String, entries_max: usize, after: &Marker) -> Self {
        let mut gathered = Self {
            prefix,
            delimiter,
            entries_max,
            uploads: Vec::new(),
            groups: Vec::new(),
            listed: None,
            last: Marker::default(),
            truncated: false,
        };
        gathered.listed = gathered.group(&after.key).filter(|group| *group == after.key);
        gathered
    }

    /// The group that `key` is in.
    fn group(&self, key: &str) -> Option<String> {
        let rest = key.strip_prefix(self.prefix.as_str()).filter(|_| !self.delimiter.is_empty())?;
        let end = rest.find(self.delimiter.as_str())? + self.delimiter.len();
        Some(key[..self.prefix.len() + end].to_owned())
    }

    /// Takes the next upload in order; false when the page has no room for it.
    fn take(&mut self, upload: store::Upload) -> bool {
        let group = self.group(&upload.key);
        if group.is_some() && group == self.listed {
            return true;
        }
        if self.uploads.len() + self.groups.len() == self.entries_max {
            self.truncated = true;
            return false;
        }
        match &group {
            Some(group) => {
                self.last = Marker { key: group.clone(), upload_id: String::new() };
                self.groups.push(group.clone());
            }
            None => {
                self.last = Marker { key: upload.key.clone(), upload_id: upload.upload_id.clone() };
                self.uploads.push(upload);
            }
        }
        self.listed = group;
        true
    }

    /// Where to go on behind `seen`: behind the whole of a group that was listed.
    fn behind(&self, seen: Marker) -> Marker {
        match self.listed.as_ref().map(|group| format!("{group}{GREATEST}")) {
            Some(key) if key > seen.key => Marker { key, upload_id: String::new() },
            Some(_) | None => seen,
        }
    }
}

/// `ListMultipartUploads`.
pub(super) async fn list(
    gateway: &Gateway,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let owner = owner(caller(&request)?);
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    let (encoding, uploads_max) = (Encoding::asked(input.encoding_type.as_ref())?, page(input.max_uploads)?);
    let after = marker(input.key_marker.as_deref(), input.upload_id_marker.as_deref())?;
    let (prefix, delimiter) =
        (input.prefix.clone().unwrap_or_default(), input.delimiter.clone().unwrap_or_default());
    let mut gathered = Gathered::new(prefix.clone(), delimiter, uploads_max as usize, &after);
    // One more than fits tells whether more follow; how many a group hides is not known.
    let at_once =
        if gathered.delimiter.is_empty() { (uploads_max + 1).min(AT_ONCE_MAX) } else { AT_ONCE_MAX };
    let mut after = gathered.behind(after);
    loop {
        let call = ListUploadsRequest {
            content: Some(place.content.clone()),
            namespace: place.namespace.clone(),
            prefix: prefix.clone(),
            after_key: after.key.clone(),
            after_upload_id: after.upload_id.clone(),
            uploads_max: at_once,
        };
        let found = answer(gateway.store.client().list_uploads(call)).await.map_err(refused)?;
        let seen = found.uploads.last().map(|upload| (upload.key.clone(), upload.upload_id.clone()));
        let all = found.uploads.into_iter().all(|upload| gathered.take(upload));
        let Some((key, upload_id)) = seen.filter(|_| all && found.truncated) else { break };
        after = gathered.behind(Marker { key, upload_id });
    }
    // A page of nothing has found out that the bucket is there, and leads nowhere.
    let truncated = gathered.truncated && uploads_max > 0;
    let entry = |upload: store::Upload| MultipartUpload {
        checksum_algorithm: Algorithm::named(&upload.checksum_algorithm)
            .map(|known| ChecksumAlgorithm::from_static(known.name())),
        checksum_type: checksum_type(&upload),
        initiated: Some(stamp(upload.initiated_unix_ms)),
        initiator: Some(Initiator { display_name: owner.display_name.clone(), id: owner.id.clone() }),
        key: Some(encoding.write(upload.key)),
        owner: Some(owner.clone()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(upload.upload_id),
    };
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        uploads: Some(gathered.uploads.into_iter().map(entry).collect()),
        common_prefixes: Some(prefixes(gathered.groups, encoding)),
        is_truncated: Some(truncated),
        max_uploads: i32::try_from(uploads_max).ok(),
        prefix: Some(encoding.write(prefix)),
        delimiter: input.delimiter.map(|delimiter| encoding.write(delimiter)),
        key_marker: Some(encoding.write(input.key_marker.unwrap_or_default())),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        next_key_marker: truncated.then(|| encoding.write(gathered.last.key)),
        next_upload_id_marker: truncated.then_some(gathered.last.upload_id),
        encoding_type: encoding.written(),
        ..Default::default()
    }))
}

/// Where the page begins. An upload's identifier counts only beside a key.
fn marker(key: Option<&str>, upload_id: Option<&str>) -> S3Result<Marker> {
    let key = key.unwrap_or_default();
    let upload_id = upload_id.filter(|_| !key.is_empty()).unwrap_or_default();
    let is_one = hex::decode(upload_id).is_ok_and(|bytes| bytes.len() == 16);
    if !upload_id.is_empty() && !is_one {
        return Err(s3_error!(InvalidArgument, "upload-id-marker is not what a page before this one gave"));
    }
    Ok(Marker { key: key.into(), upload_id: upload_id.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All entries of a listing of `keys` in pages of `entries_max`, as the store is asked for them.
    fn listed(keys: &[&str], prefix: &str, entries_max: usize) -> Vec<String> {
        let (mut entries, mut from) = (Vec::new(), Marker::default());
        for _ in 0..=keys.len() {
            let mut page = Gathered::new(prefix.into(), "/".into(), entries_max, &from);
            let after = page.behind(from);
            let rest = keys.iter().filter(|key| key.starts_with(prefix) && **key > after.key.as_str());
            let upload = |key: &&str| store::Upload { key: (*key).into(), ..Default::default() };
            let _ = rest.map(upload).all(|upload| page.take(upload));
            entries.extend(page.uploads.into_iter().map(|upload| upload.key).chain(page.groups));
            if !page.truncated {
                break;
            }
            from = page.last;
        }
        entries.sort();
        entries
    }

    #[test]
    fn groups_are_listed_once_whatever_the_page() {
        let keys = ["a", "b/1", "b/2", "b/\u{10ffff}x", "b0", "c/d/e", "c/f", "d/"];
        for entries_max in 1..8 {
            assert_eq!(listed(&keys, "", entries_max), ["a", "b/", "b0", "c/", "d/"], "{entries_max}");
            assert_eq!(listed(&keys, "c/", entries_max), ["c/d/", "c/f"], "{entries_max}");
        }
    }

    #[test]
    fn going_on_never_goes_back() {
        let mut page = Gathered::new(String::new(), "/".into(), 10, &Marker::default());
        assert!(page.take(store::Upload { key: "b/1".into(), ..Default::default() }));
        let seen = |key: &str| Marker { key: key.into(), upload_id: "id".into() };
        assert_eq!(page.behind(seen("b/1")).key, "b/\u{10ffff}");
        assert_eq!(page.behind(seen("b/\u{10ffff}x")), seen("b/\u{10ffff}x"));
    }

    #[test]
    fn a_marker_that_no_page_gave_is_refused() {
        assert_eq!(marker(Some("k"), Some("zz")).unwrap_err().code().as_str(), "InvalidArgument");
        assert_eq!(marker(None, Some("zz")).unwrap(), Marker::default());
    }
}
