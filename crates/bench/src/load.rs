//! The objects that are moved: their bytes follow from their keys, so that nothing has to be kept to
//! compare them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::task::JoinSet;

use crate::client::{Client, Place};

/// Bytes made at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Some objects of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) count: u64,
    /// Bytes of each.
    pub(crate) size: u64,
    /// They are words, which compression makes small, and not noise, which it does not.
    pub(crate) shrinks: bool,
    /// Clients that write or read at once.
    pub(crate) clients: usize,
}

impl Work {
    pub(crate) fn bytes(&self) -> u64 {
        self.count * self.size
    }

    fn key(&self, number: u64) -> String {
        key(self.name, number)
    }
}

/// The key of an object of the work of that name.
pub(crate) fn key(name: &str, number: u64) -> String {
    format!("{name}/{number:06}")
}

/// The bytes of an object in its `edition`.
fn pieces(key: &str, edition: u64, work: Work) -> impl Iterator<Item = Bytes> + Send + use<> {
    let Work { size, shrinks, .. } = work;
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.as_bytes()).update(&edition.to_le_bytes());
    let mut source = hasher.finalize_xof();
    (0..size.div_ceil(PIECE_BYTES)).map(move |piece| {
        let length = PIECE_BYTES.min(size - piece * PIECE_BYTES);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        source.fill(&mut bytes);
        Bytes::from(if shrinks { words(&bytes) } else { bytes })
    })
}

/// As many bytes of words as there is noise.
fn words(noise: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 16] = [
        b"the ",
        b"line ",
        b"of ",
        b"a ",
        b"link ",
        b"takes ",
        b"so ",
        b"many ",
        b"bytes ",
        b"second, ",
        b"and ",
        b"what ",
        b"is ",
        b"longer ",
        b"waits.\n",
        b"then ",
    ];
    let mut bytes: Vec<u8> = noise.iter().flat_map(|one| WORDS[usize::from(one % 16)]).copied().collect();
    bytes.truncate(noise.len());
    bytes
}

pub(crate) fn body(key: &str, edition: u64, work: Work) -> BoxStream<'static, Bytes> {
    futures::stream::iter(pieces(key, edition, work)).boxed()
}

/// The bytes of a small object at once.
pub(crate) fn bytes(key: &str, work: Work) -> Bytes {
    pieces(key, 0, work).next().unwrap_or_default()
}

fn hash(key: &str, edition: u64, work: Work) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    pieces(key, edition, work).for_each(|piece| {
        hasher.update(&piece);
    });
    hasher.finalize()
}

/// Writes the objects from number `from` on; answers how long it took.
pub(crate) async fn write(place: &Place, work: Work, from: u64, edition: u64) -> anyhow::Result<Duration> {
    each(place, work, from, move |mut client, key| async move {
        client.put(&key, work.size, body(&key, edition, work)).await.map(|()| client)
    })
    .await
}

/// Reads all objects back and compares their hashes with those of what was written; `edition` says
/// for each number which edition it is in.
pub(crate) async fn verify(
    place: &Place,
    work: Work,
    edition: impl Fn(&str) -> u64 + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    each(place, work, 0, move |mut client, key| {
        let edition = edition(&key);
        async move {
            let mut hasher = blake3::Hasher::new();
            client
                .get(&key, |piece| {
                    hasher.update(piece);
                })
                .await?;
            ensure!(
                hasher.finalize() == hash(&key, edition, work),
                "{key} has other bytes than were written"
            );
            Ok(client)
        }
    })
    .await
    .map(drop)
}

/// The number in a key.
pub(crate) fn number(key: &str) -> u64 {
    key.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
}

async fn each<F, D>(place: &Place, work: Work, from: u64, act: F) -> anyhow::Result<Duration>
where
    F: Fn(Client, String) -> D + Clone + Send + 'static,
    D: Future<Output = anyhow::Result<Client>> + Send + 'static,
{
    let since = Instant::now();
    let next = Arc::new(AtomicU64::new(from));
    let mut clients = JoinSet::new();
    for _ in 0..work.clients {
        let (mut client, next, act) = (Client::connect(place).await?, Arc::clone(&next), act.clone());
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= work.count {
                    return anyhow::Ok(());
                }
                client = act(client, work.key(number)).await?;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.context("a client")??;
    }
    Ok(since.elapsed())
}

/// The same objects as files in `folder`.
pub(crate) fn files(folder: &Path, work: Work) -> anyhow::Result<()> {
    use std::io::Write as _;
    std::fs::create_dir_all(folder.join(work.name))?;
    for number in 0..work.count {
        let key = work.key(number);
        let mut file = std::fs::File::create(folder.join(&key))?;
        for piece in pieces(&key, 0, work) {
            file.write_all(&piece)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_object_follow_from_its_key_and_edition() {
        let work = Work { name: "a", count: 1, size: PIECE_BYTES + 5, shrinks: false, clients: 1 };
        let of = |key: &str, edition| pieces(key, edition, work).collect::<Vec<_>>().concat();
        let text = pieces("a/000001", 0, Work { shrinks: true, ..work }).collect::<Vec<_>>().concat();
        assert!(text.is_ascii() && text.len() == of("a/000001", 0).len());
        assert_eq!(of("a/000001", 0).len() as u64, PIECE_BYTES + 5);
        assert_eq!(of("a/000001", 0), of("a/000001", 0));
        assert_ne!(of("a/000001", 0), of("a/000002", 0));
        assert_ne!(of("a/000001", 0), of("a/000001", 1));
        assert_eq!((number("a/000012"), number("a")), (12, u64::MAX));
    }
}
