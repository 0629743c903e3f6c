//! Checksums that clients send, compared with the bytes.
//!
//! s3s parses them and compares nothing; what is acknowledged here was compared, and what was
//! compared is stored with the object and given back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::{S3Result, TrailingHeaders, s3_error};
use switchback_proto::store::v1::Checksum;

use crate::status;

/// The algorithms that S3 clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// CRC-32 as in Ethernet.
    Crc32,
    /// CRC-32 of Castagnoli.
    Crc32c,
    /// CRC-64 as in NVMe.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As S3 and the store name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The header that carries its value.
    pub(crate) fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    fn of_header(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        Self::named(name.strip_prefix("x-amz-checksum-")?)
    }

    /// The CRCs can be combined to that of the whole object; the others cannot.
    pub(crate) fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// What the client says its body's digests are, and what it wants to have computed.
#[derive(Default)]
pub(crate) struct Claims {
    md5: Option<[u8; 16]>,
    values: Vec<(Algorithm, String)>,
    /// Announced in `x-amz-trailer`; their values come behind the body.
    announced: Vec<Algorithm>,
    trailers: Option<TrailingHeaders>,
    /// Asked for without a value.
    wanted: Vec<Algorithm>,
}

impl Claims {
    /// Nothing is claimed; `wanted` is computed.
    pub(crate) fn wanting(wanted: impl IntoIterator<Item = Algorithm>) -> Self {
        Self { wanted: wanted.into_iter().collect(), ..Self::default() }
    }

    /// What the headers of a request claim.
    pub(crate) fn of(headers: &HeaderMap, trailers: Option<TrailingHeaders>) -> S3Result<Self> {
        let mut claims = Self { trailers, ..Self::default() };
        if let Some(value) = headers.get("content-md5") {
            let bytes = BASE64.decode(value.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
            claims.md5 =
                Some(bytes.ok_or_else(|| s3_error!(InvalidDigest, "Content-MD5 is not 16 bytes in base64"))?);
        }
        for algorithm in Algorithm::ALL {
            if let Some(value) = headers.get(algorithm.header()) {
                let value =
                    value.to_str().map_err(|_| s3_error!(InvalidRequest, "a checksum is not in base64"))?;
                claims.values.push((algorithm, value.to_owned()));
            }
        }
        let listed = headers.get_all("x-amz-trailer").iter().filter_map(|value| value.to_str().ok());
        claims.announced =
            listed.flat_map(|value| value.split(',')).filter_map(Algorithm::of_header).collect();
        if !claims.announced.is_empty() && claims.trailers.is_none() {
            return Err(trailer("x-amz-trailer announces what the body's encoding cannot carry"));
        }
        let asked = headers.get("x-amz-sdk-checksum-algorithm").and_then(|value| value.to_str().ok());
        if let Some(name) = asked {
            let algorithm = Algorithm::named(name);
            claims.wanted.push(
                algorithm.ok_or_else(|| s3_error!(InvalidRequest, "unknown checksum algorithm {name}"))?,
            );
        }
        Ok(claims)
    }

    fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        let claimed = self.values.iter().map(|(algorithm, _)| *algorithm);
        claimed.chain(self.announced.iter().copied()).chain(self.wanted.iter().copied())
    }

    /// A hasher for all that is claimed or wanted.
    pub(crate) fn hasher(&self) -> Hasher {
        let mut checksums = ChecksumHasher::default();
        for algorithm in self.algorithms() {
            match algorithm {
                Algorithm::Crc32 => checksums.crc32 = Some(s3s::crypto::Crc32::new()),
                Algorithm::Crc32c => checksums.crc32c = Some(s3s::crypto::Crc32c::new()),
                Algorithm::Crc64Nvme => checksums.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
                Algorithm::Sha1 => checksums.sha1 = Some(s3s::crypto::Sha1::new()),
                Algorithm::Sha256 => checksums.sha256 = Some(s3s::crypto::Sha256::new()),
            }
        }
        Hasher { md5: Md5::new(), others: Others { content: blake3::Hasher::new(), checksums } }
    }

    /// Compares the claims with what was computed over the whole body.
    pub(crate) fn verify(&self, digests: &Digests) -> S3Result<()> {
        if self.md5.is_some_and(|claimed| claimed != digests.md5) {
            return Err(s3_error!(BadDigest, "the body's MD5 is not what Content-MD5 says"));
        }
        for (algorithm, claimed) in &self.values {
            verify_one(*algorithm, claimed, digests)?;
        }
        for algorithm in &self.announced {
            let name = algorithm.header();
            let found = self.trailers.as_ref().and_then(|trailers| {
                trailers
                    .read(|map| map.get(&name).and_then(|value| value.to_str().ok()).map(str::to_owned))
                    .flatten()
            });
            let claimed =
                found.ok_or_else(|| trailer("a checksum was announced in x-amz-trailer and is missing"))?;
            verify_one(*algorithm, &claimed, digests)?;
        }
        Ok(())
    }
}

fn trailer(message: &'static str) -> s3s::S3Error {
    status::bad_request("MalformedTrailerError", message)
}

fn verify_one(algorithm: Algorithm, claimed: &str, digests: &Digests) -> S3Result<()> {
    if value_of(&digests.checksums, algorithm) == Some(claimed) {
        return Ok(());
    }
    Err(s3_error!(BadDigest, "the body's {} is not what the request says", algorithm.name()))
}

/// All digests of a body in one pass.
pub(crate) struct Hasher {
    pub(super) md5: Md5,
    pub(super) others: Others,
}

/// All that take less time together than MD5 does, as a rule.
pub(super) struct Others {
    content: blake3::Hasher,
    checksums: ChecksumHasher,
}

/// What was computed over a body.
pub(crate) struct Digests {
    /// The ETag of a body that is one part.
    pub(crate) md5: [u8; 16],
    /// BLAKE3.
    pub(crate) content: [u8; 32],
    /// Those that were claimed or wanted.
    pub(crate) checksums: Vec<Checksum>,
}

impl Hasher {
    #[cfg(test)]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.others.update(bytes);
    }

    pub(crate) fn finish(self) -> Digests {
        let found = self.others.checksums.finalize();
        let values = [
            (Algorithm::Crc32, found.checksum_crc32),
            (Algorithm::Crc32c, found.checksum_crc32c),
            (Algorithm::Crc64Nvme, found.checksum_crc64nvme),
            (Algorithm::Sha1, found.checksum_sha1),
            (Algorithm::Sha256, found.checksum_sha256),
        ];
        let checksums = values
            .into_iter()
            .filter_map(|(algorithm, value)| {
                Some(Checksum { algorithm: algorithm.name().into(), value: value? })
            })
            .collect();
        let content = *self.others.content.finalize().as_bytes();
        Digests { md5: self.md5.finalize(), content, checksums }
    }
}

impl Others {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.content.update(bytes);
        self.checksums.update(bytes);
    }
}

/// The value of `algorithm` among `checksums`.
pub(crate) fn value_of(checksums: &[Checksum], algorithm: Algorithm) -> Option<&str> {
    checksums
        .iter()
        .find(|checksum| checksum.algorithm == algorithm.name())
        .map(|checksum| checksum.value.as_str())
}

/// `COMPOSITE` or `FULL_OBJECT`, if there are any.
pub(crate) fn kind_of(checksums: &[Checksum]) -> Option<s3s::dto::ChecksumType> {
    let kind = if checksums.first()?.value.contains('-') {
        s3s::dto::ChecksumType::COMPOSITE
    } else {
        s3s::dto::ChecksumType::FULL_OBJECT
    };
    Some(s3s::dto::ChecksumType::from_static(kind))
}

/// Sets the five checksum fields of an S3 answer.
macro_rules! set_checksums {
    ($output:expr, $checksums:expr) => {{
        use $crate::s3::checksum::{Algorithm, value_of};
        let checksums = $checksums;
        $output.checksum_crc32 = value_of(checksums, Algorithm::Crc32).map(str::to_owned);
        $output.checksum_crc32c = value_of(checksums, Algorithm::Crc32c).map(str::to_owned);
        $output.checksum_crc64nvme = value_of(checksums, Algorithm::Crc64Nvme).map(str::to_owned);
        $output.checksum_sha1 = value_of(checksums, Algorithm::Sha1).map(str::to_owned);
        $output.checksum_sha256 = value_of(checksums, Algorithm::Sha256).map(str::to_owned);
    }};
}
pub(crate) use set_checksums;

/// Reads the five checksum fields of an S3 request.
macro_rules! given_checksums {
    ($input:expr) => {{
        use $crate::s3::checksum::Algorithm;
        [
            (Algorithm::Crc32, $input.checksum_crc32.clone()),
            (Algorithm::Crc32c, $input.checksum_crc32c.clone()),
            (Algorithm::Crc64Nvme, $input.checksum_crc64nvme.clone()),
            (Algorithm::Sha1, $input.checksum_sha1.clone()),
            (Algorithm::Sha256, $input.checksum_sha256.clone()),
        ]
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)))
    }};
}
pub(crate) use given_checksums;

/// The checksum of a multipart object from those of its parts, in order, with their sizes: of the
/// parts' checksums (`composite`), or of the bytes. `None` when it cannot be had from these.
pub(crate) fn of_parts(algorithm: Algorithm, parts: &[(Vec<u8>, u64)], composite: bool) -> Option<Checksum> {
    let value = if composite {
        let mut hasher = Claims::wanting([algorithm]).hasher();
        parts.iter().for_each(|(checksum, _)| hasher.others.checksums.update(checksum));
        let digests = hasher.finish();
        format!("{}-{}", value_of(&digests.checksums, algorithm)?, parts.len())
    } else {
        let crc = algorithm.crc()?;
        let mut sums = parts.iter().map(|(checksum, size)| Some((number(checksum)?, *size)));
        let (mut sum, width) = (sums.next()??.0, parts.first()?.0.len());
        for next in sums {
            let (next, size) = next?;
            sum = crc_fast::checksum_combine(crc, sum, next, size);
        }
        BASE64.encode(sum.to_be_bytes().get(8 - width..)?)
    };
    Some(Checksum { algorithm: algorithm.name().into(), value })
}

fn number(big_endian: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes.get_mut(8_usize.checked_sub(big_endian.len())?..)?.copy_from_slice(big_endian);
    Some(u64::from_be_bytes(bytes))
}

/// The bytes of a checksum as S3 shows it.
pub(crate) fn decode(value: &str) -> Option<Vec<u8>> {
    BASE64.decode(value).ok()
}

/// The ETag of a multipart object: MD5 of its parts' MD5s, and their number.
pub(crate) fn multipart_etag<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> Option<String> {
    let count = etags.len();
    let mut md5 = Md5::new();
    for etag in etags {
        md5.update(&hex::decode(etag).ok().filter(|bytes| bytes.len() == 16)?);
    }
    Some(format!("{}-{count}", hex::encode(md5.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(claims: &Claims, body: &[u8]) -> Digests {
        let mut hasher = claims.hasher();
        hasher.update(body);
        hasher.finish()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_checksum_that_is_not_the_bodys_is_refused() {
        for (name, right) in [
            ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
            ("x-amz-checksum-crc32", "NhCmhg=="),
            ("x-amz-checksum-crc32c", "mnG7TA=="),
            ("x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="),
            ("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
        ] {
            let claims = Claims::of(&headers(&[(name, right)]), None).unwrap();
            assert!(claims.verify(&digests(&claims, b"hello")).is_ok(), "{name}");
            let error = claims.verify(&digests(&claims, b"hullo")).unwrap_err();
            assert_eq!(error.code().as_str(), "BadDigest", "{name}");
        }
    }

    #[test]
    fn a_malformed_md5_and_a_trailer_without_an_encoding_for_it_are_refused() {
        assert_eq!(
            Claims::of(&headers(&[("content-md5", "abc")]), None).err().unwrap().code().as_str(),
            "InvalidDigest"
        );
        assert!(Claims::of(&headers(&[("x-amz-trailer", "x-amz-checksum-crc32")]), None).is_err());
    }

    #[test]
    fn the_etag_of_a_multipart_object_is_the_md5_of_its_parts_md5s() {
        let parts = ["5d41402abc4b2a76b9719d911017c592", "7d793037a0760186574b0282f2f435e7"];
        let etag = multipart_etag(parts.into_iter()).unwrap();
        assert_eq!(etag, "065947336a2f2a95ba8899f3675c3be6-2");
        assert_eq!(multipart_etag(["xyz"].into_iter()), None);
    }

    #[test]
    fn the_crc_of_a_whole_object_is_had_from_those_of_its_parts() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let sum = |body: &[u8]| {
                let checksums = digests(&Claims::wanting([algorithm]), body).checksums;
                value_of(&checksums, algorithm).unwrap().to_owned()
            };
            let part = |body: &[u8]| (decode(&sum(body)).unwrap(), body.len() as u64);
            let whole = of_parts(algorithm, &[part(b"one "), part(b"and "), part(b"two")], false).unwrap();
            assert_eq!(whole.value, sum(b"one and two"), "{algorithm:?}");
        }
        assert_eq!(of_parts(Algorithm::Sha256, &[(vec![0; 32], 1)], false), None);
        let composite = of_parts(Algorithm::Sha256, &[(vec![0; 32], 1)], true).unwrap();
        assert!(composite.value.ends_with("-1"));
    }
}
