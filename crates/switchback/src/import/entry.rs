//! One object as its source lists it.

/// What a listing says of an object: enough to see, without reading it, that it is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In the source; beneath its prefix or folder.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// In the source's own words; compared and never read.
    pub modified: String,
    /// Without quotes; empty where there is none.
    pub etag: String,
}

/// Names something among many millions: 128 bits of BLAKE3.
pub(crate) type Digest = [u8; 16];

impl Entry {
    /// Of what the listing says but the key.
    pub(crate) fn state(&self) -> Digest {
        digest(&[&self.size.to_le_bytes(), self.modified.as_bytes(), self.etag.as_bytes()])
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
            Entry { key: "k".into(), size, modified: modified.into(), etag: etag.into() }.state()
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
        let entry =
            |etag: &str| Entry { key: "k".into(), size: 1, modified: String::new(), etag: etag.into() };
        assert_eq!(entry("00112233445566778899aabbccddeeff").md5().unwrap()[1], 0x11);
        assert_eq!(entry("00112233445566778899aabbccddeeff").parts(), None);
        assert_eq!(entry("00112233445566778899aabbccddeeff-12").parts(), Some(12));
        assert_eq!((entry("").md5(), entry("").parts(), entry("x-y").parts()), (None, None, None));
    }
}
