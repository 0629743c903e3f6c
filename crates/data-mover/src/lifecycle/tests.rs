//! A pass that is killed at any of its steps, again and again, comes to the same end as one that is not: what is due
//! has expired, each once, and nothing else has.

use std::pin::pin;
use std::task::Poll;

use futures::future::{join_all, poll_fn};
use switchback_kit::durable::Db;
use switchback_kit::tls::IdentityWatch;
use switchback_model::{Content, ContentKind, SiteId};
use switchback_store::{
    Blobs, Conditions, Expiration, LifecycleFilter, LifecycleRule, ManualClock, NoncurrentExpiration, Object,
    Options, Presence, RecordKey, Upload, VERSIONING, VersionsAsked,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bell::Bells;
use crate::memory::Memory;
use crate::mover::Store;
use crate::scrub::Scrub;
use crate::share::Share;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A namespace without versions and one with.
const PLAIN: &str = "plain";
const VERSIONED: &str = "versioned";

/// Due in each of them: several pages, of which each is a commit.
const PLAIN_DUE: u32 = 600;
const VERSIONED_DUE: u32 = 300;

/// Steps of a pass that come before its first page is through, more or less, and after how many kills there are more
/// of them: as many as look through what is left when all has expired. A whole pass has some 30.
const FEW_STEPS: u64 = 6;
const FEW_KILLS: u64 = 12;
const STEPS_MAX: u64 = 14;

fn days(days: u32) -> u64 {
    u64::try_from((DAY * days).as_millis()).unwrap()
}

struct Site {
    clock: Arc<ManualClock>,
    mover: Arc<Mover>,
    content: Content,
    now_unix_ms: u64,
    _folder: tempfile::TempDir,
}

/// A key, whether it is the current version, and whether it is a marker.
type Seen = (String, bool, bool);

impl Site {
    /// With objects of the last 30 days, and rules.
    async fn new() -> Self {
        let (folder, now_unix_ms) = (tempfile::tempdir().unwrap(), unix_ms());
        let clock = Arc::new(ManualClock::new(now_unix_ms - days(31)));
        let options = Options { clock: clock.clone(), reserve_bytes: 0, ..Options::new(SiteId(1)) };
        let catalogue = Catalogue::open(&folder.path().join("catalogue"), options).unwrap();
        let content = catalogue.create_content(ContentKind::Tenant, "acme", "").await.unwrap();
        let path = folder.path().join("blobs");
        let presence = Presence::establish(&catalogue, &path).await.unwrap();
        let memory = Memory::new(Db::open(&folder.path().join("state")).unwrap());
        // Else the time that is known would be the store's last, long ago.
        memory.put_believed(now_unix_ms).await.unwrap();
        let scrub = Arc::new(Scrub::load(&memory, 0).unwrap());
        let store =
            Store { catalogue, blobs: Blobs::open(&path).unwrap(), presence, scrub, share: Share::new(25) };
        let (_, identity) = IdentityWatch::new();
        let mover =
            Mover::new(store, memory, Bells::new(), identity, Handle::current(), CancellationToken::new())
                .unwrap();
        let site = Self { clock, mover, content, now_unix_ms, _folder: folder };
        site.write().await;
        site
    }

    async fn write(&self) {
        let (catalogue, id) = (&self.mover.catalogue, self.content.id);
        for namespace in [PLAIN, VERSIONED] {
            catalogue.create_namespace(id, namespace).await.unwrap();
        }
        let set = |namespace: &'static str, setting: &'static str, value: String| async move {
            catalogue.set_namespace_setting(id, namespace, setting, Some(value)).await.unwrap();
        };
        set(VERSIONED, VERSIONING, "Enabled".into()).await;
        let keys = |folder: &str, count: u32| -> Vec<_> {
            (0..count).map(|number| format!("{folder}/{number:03}")).collect()
        };
        let upload = |key: &str| Upload { key: key.into(), ..Upload::default() };
        for days_ago in [30, 29, 28, 1] {
            self.clock.set(self.now_unix_ms - days(days_ago));
            self.put(VERSIONED, keys("often", 50)).await;
            match days_ago {
                30 => {
                    self.put(PLAIN, keys("kept", 50)).await;
                    self.put(PLAIN, keys("old", PLAIN_DUE)).await;
                    self.put(VERSIONED, keys("old", VERSIONED_DUE)).await;
                    catalogue.create_upload(id, PLAIN, upload("old/upload")).await.unwrap();
                }
                1 => {
                    self.put(PLAIN, keys("old/recent", 50)).await;
                    self.put(VERSIONED, keys("old/recent", 50)).await;
                    catalogue.create_upload(id, PLAIN, upload("old/recent upload")).await.unwrap();
                }
                _ => {}
            }
        }
        self.clock.set(self.now_unix_ms);
        let rule = |prefix: &str| LifecycleRule {
            id: prefix.into(),
            enabled: true,
            filter: LifecycleFilter { prefix: Some(prefix.into()), ..LifecycleFilter::default() },
            ..LifecycleRule::default()
        };
        let old = || LifecycleRule {
            expiration: Some(Expiration::Days(7)),
            abort_uploads_days: Some(7),
            ..rule("old/")
        };
        let often = LifecycleRule {
            noncurrent: Some(NoncurrentExpiration { days: 7, kept: Some(1) }),
            ..rule("often/")
        };
        set(PLAIN, LIFECYCLE, Lifecycle { rules: vec![old()] }.setting()).await;
        set(VERSIONED, LIFECYCLE, Lifecycle { rules: vec![old(), often] }.setting()).await;
    }

    async fn put(&self, namespace: &str, keys: Vec<String>) {
        let content_hash = *blake3::hash(b"").as_bytes();
        let puts = keys.iter().map(|key| {
            let object = Object { content_hash, ..Object::default() };
            self.mover.catalogue.put_object(self.content.id, namespace, key, object, Conditions::default())
        });
        assert!(join_all(puts).await.iter().all(Result::is_ok));
    }

    fn runner(&self, note_interval: Duration) -> Runner {
        Runner { note_interval, ..Runner::new(Arc::clone(&self.mover), DAY).unwrap() }
    }

    fn head(&self) -> u64 {
        self.mover.catalogue.content(self.content.id).unwrap().head.sequence
    }

    fn seen(&self, namespace: &str) -> Vec<Seen> {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let asked = VersionsAsked { after, entries_max: 1_000, ..VersionsAsked::default() };
            let page = self.mover.catalogue.list_versions(self.content.id, namespace, &asked).unwrap();
            let entries = page.entries.into_iter();
            seen.extend(entries.map(|entry| (entry.key, entry.is_latest, entry.object.is_none())));
            match page.next {
                Some(next) => after = Some(next),
                None => return seen,
            }
        }
    }

    fn uploads(&self) -> Vec<String> {
        let page = self.mover.catalogue.uploads(self.content.id, PLAIN, "", None, 10).unwrap();
        page.uploads.into_iter().map(|upload| upload.key).collect()
    }

    /// A client overwrites the last object of [`PLAIN`] that would expire, if there is any.
    async fn overwrite_last(&self) -> Option<String> {
        // What was under way when the pass was killed is through when a later commit is.
        self.mover.catalogue.lease_blobs(Vec::new()).await.unwrap();
        let is_due = |seen: &Seen| seen.0.starts_with("old/") && !seen.0.starts_with("old/recent");
        let mut due = self.seen(PLAIN).into_iter().filter(is_due).map(|seen| seen.0);
        let last = due.rfind(|key| !self.is_new(key))?;
        self.put(PLAIN, vec![last.clone()]).await;
        Some(last)
    }

    fn is_new(&self, key: &str) -> bool {
        let key = RecordKey::object(PLAIN, key);
        let record = self.mover.catalogue.record(self.content.id, &key).unwrap().unwrap();
        record.as_object().unwrap().last_modified_unix_ms == self.now_unix_ms
    }
}

/// Runs `future` for so many steps, as far as a process comes before it is killed. True: it came to its end.
async fn killed_after(mut steps: u64, future: impl Future) -> bool {
    let mut future = pin!(future);
    poll_fn(|context| {
        if steps == 0 {
            return Poll::Ready(false);
        }
        steps -= 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_is_killed_again_and_again_comes_to_the_same_end() {
    let whole = Site::new().await;
    let before = whole.head();
    whole.runner(NOTE_INTERVAL).round().await;
    let growth = whole.head() - before;
    let names =
        |folder: &'static str, count: u32| (0..count).map(move |number| format!("{folder}/{number:03}"));
    let plain = ["kept", "old/recent"].map(|folder| names(folder, 50));
    let plain: Vec<Seen> = plain.into_iter().flatten().map(|key| (key, true, false)).collect();
    assert_eq!(whole.seen(PLAIN), plain);
    let hidden = names("old", VERSIONED_DUE).flat_map(|key| [(key.clone(), true, true), (key, false, false)]);
    let recent = names("old/recent", 50).map(|key| (key, true, false));
    let often = names("often", 50).flat_map(|key| [(key.clone(), true, false), (key, false, false)]);
    assert_eq!(whole.seen(VERSIONED), often.chain(hidden).chain(recent).collect::<Vec<_>>());
    assert_eq!(whole.uploads(), ["old/recent upload"]);

    // Where a pass is, is noted at each page, or seldom enough to be never.
    for (seed, note_interval) in [(1_u64, Duration::ZERO), (2, Duration::ZERO), (3, NOTE_INTERVAL)] {
        let site = Site::new().await;
        let (before, mut overwritten, mut kills, mut random) = (site.head(), Vec::new(), 0, seed);
        loop {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let steps_max = if kills < FEW_KILLS { FEW_STEPS } else { STEPS_MAX };
            let steps = 1 + (random >> 33) % steps_max;
            if killed_after(steps, site.runner(note_interval).round()).await {
                break;
            }
            kills += 1;
            overwritten.extend(site.overwrite_last().await);
        }
        // It is over: another round of the day finds nothing to do.
        site.runner(note_interval).round().await;
        assert!(kills >= FEW_KILLS / 3, "seed {seed}: {kills} kills");
        assert!(!overwritten.is_empty(), "seed {seed}: nothing was left to overwrite");
        let mut expected = plain.clone();
        expected.extend(overwritten.into_iter().map(|key| (key, true, false)));
        expected.sort();
        assert_eq!(site.seen(PLAIN), expected, "seed {seed}");
        assert_eq!(site.seen(VERSIONED), whole.seen(VERSIONED), "seed {seed}");
        assert_eq!(site.uploads(), whole.uploads(), "seed {seed}");
        // An object that is overwritten counts once, as one that expires does.
        assert_eq!(site.head() - before, growth, "seed {seed}: each change once");
    }
}
