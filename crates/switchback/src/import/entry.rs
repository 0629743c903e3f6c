//! One object, version or delete marker as it is listed.

/// What a listing says of an object: enough to see, without reading it, that it is another one now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In the source; beneath its prefix or folder.
    pub key: String,
    /// Which version of the key; absent where none was asked for, which means the current one.
    pub version: Option<String>,
    /// A delete marker: nothing but its key, version and time.
    pub marker: bool,
    /// In bytes.
    pub size: u64,
    /// In the source's own words; compared and never read.
    pub modified: String,
    /// Without quotes; empty where there is none.
    pub etag: String,
}

/// The version id of what was written while versioning was off or suspended, which is overwritten in its place.
const NULL: &str = "null";

/// Names something among many millions: 128 bits of BLAKE3.
pub(crate) type Digest = [u8; 16];

impl Entry {
    /// Of what the listing says but the key and the version.
    pub(crate) fn state(&self) -> Digest {
        digest(&[&self.size.to_le_bytes(), self.modified.as_bytes(), self.etag.as_bytes()])
    }

    /// What it is among all that is imported: an object by its key, whatever becomes of it; a version by its id,
    /// for it never changes; and a `null` version, which does, by all that is listed of it.
    pub(crate) fn identity(&self) -> Digest {
        match self.version.as_deref() {
            None => of_key(&self.key),
            Some(NULL) => {
                let marker = [u8::from(self.marker)];
                digest(&[self.key.as_bytes(), NULL.as_bytes(), &marker, &self.state()])
            }
            Some(version) => of_version(&self.key, version),
        }
    }

    /// The MD5 of the bytes, where the ETag is one.
    pub(crate) fn md5(&self) -> Option<Digest> {
        let mut md5 = [0; 16];
        hex::decode_to_slice(&self.etag, &mut md5).ok().map(|()| md5)
    }

    /// How many parts it was uploaded in, where the ETag says so.
    pub(crate) fn parts(&self) -> Option<u64> {
        self.etag.split_once('-')?.1.parse().ok()
    }
}

/// The digest of a key.
pub(crate) fn of_key(key: &str) -> Digest {
    digest(&[key.as_bytes()])
}

/// The digest of one version of a key.
pub(crate) fn of_version(key: &str, version: &str) -> Digest {
    digest(&[key.as_bytes(), version.as_bytes()])
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // With its length, so that no two lists of parts are the same bytes.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_listing_says_anew_is_another_state() {
        let entry = |size, modified: &str, etag: &str| {
            Entry {
                key: "k".into(),
                size,
                modified: modified.into(),
                etag: etag.into(),
                ..Default::default()
            }
            .state()
        };
        let states = [
            entry(1, "a", "b"),
            entry(2, "a", "b"),
            entry(1, "ab", ""),
            entry(1, "a", "c"),
            entry(1, "", "ab"),
        ];
        for (number, state) in states.iter().enumerate() {
            assert!(!states[..number].contains(state), "{number}");
        }
        assert_eq!(states[0], entry(1, "a", "b"));
    }

    #[test]
    fn an_etag_says_what_it_says() {
        let entry = |etag: &str| Entry { key: "k".into(), size: 1, etag: etag.into(), ..Default::default() };
        assert_eq!(entry("00112233445566778899aabbccddeeff").md5().unwrap()[1], 0x11);
        assert_eq!(entry("00112233445566778899aabbccddeeff").parts(), None);
        assert_eq!(entry("00112233445566778899aabbccddeeff-12").parts(), Some(12));
        assert_eq!((entry("").md5(), entry("").parts(), entry("x-y").parts()), (None, None, None));
    }

    #[test]
    fn a_null_version_that_is_overwritten_is_another_one_and_no_other_ever_changes() {
        let entry = |version: Option<&str>, modified: &str, marker| {
            let (version, modified) = (version.map(str::to_owned), modified.to_owned());
            Entry { key: "k".into(), version, modified, marker, ..Default::default() }.identity()
        };
        assert_eq!(entry(None, "1", false), entry(None, "2", false));
        assert_eq!(entry(Some("v"), "1", false), entry(Some("v"), "2", false));
        assert_eq!(entry(Some("null"), "1", false), entry(Some("null"), "1", false));
        assert_ne!(entry(Some("null"), "1", false), entry(Some("null"), "2", false));
        assert_ne!(entry(Some("null"), "1", false), entry(Some("null"), "1", true));
        assert_ne!(entry(Some("v"), "1", false), entry(Some("w"), "1", false));
        assert_ne!(entry(Some("v"), "1", false), entry(None, "1", false));
    }
}
