use proptest::prelude::*;
use switchback_model::Epoch;
use switchback_proto::replication::v1::Change;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::desired::Desired;
use crate::desired::tests::desired;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn text(length: usize) -> Bytes {
    b"one chunk of a body that shrinks; ".iter().copied().cycle().take(length).collect()
}

fn wishes(compression: Compression) -> Desired {
    Desired { compression, ..desired(true, false) }
}

fn link(compression: Compression) -> Arc<Link> {
    Arc::new(Link::new(wishes(compression), Epoch(0), CancellationToken::new()))
}

/// With a receiver of this version.
fn packing(link: &Arc<Link>) -> Arc<Packing> {
    Packing::new(link, &Arc::default(), &Welcome { codecs: read_here(), ..Welcome::default() })
}

fn chunk(packed: Packed) -> Chunk {
    let Packed { bytes, codec, length } = packed;
    Chunk { bytes, codec: codec.into(), length, ..Chunk::default() }
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch { number: 3, through: 7, changes, ..Batch::default() }
}

/// What a frame of these bytes becomes, whoever made it.
fn opened(bytes: &[u8], length: u32) -> Result<Bytes, Malformed> {
    open(bytes.to_vec().into(), Codec::Zstd.into(), length, 256 << 10)
}

/// Runs of one byte and stretches of noise: bodies that shrink, that do not, and that do in parts.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let stretch = (any::<u64>(), 0..200_000_usize, any::<bool>());
    let body = |stretches: Vec<(u64, usize, bool)>| {
        let stretch = |(seed, length, is_run): (u64, usize, bool)| {
            if is_run { vec![seed.to_be_bytes()[0]; length] } else { noise(seed, length) }
        };
        stretches.into_iter().flat_map(stretch).collect()
    };
    proptest::collection::vec(stretch, 0..5).prop_map(body)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_body_in_any_chunks_comes_out_as_it_went_in(body in bodies(), size in 1..=256_usize << 10) {
        let packing = packing(&link(Compression::Zstd));
        let mut packer = packing.body(0);
        let (mut came, mut left) = (Vec::new(), 0);
        for bytes in body.chunks(size) {
            let mut chunk = chunk(run(packer.chunk(Bytes::copy_from_slice(bytes))));
            prop_assert_eq!(length(&chunk), bytes.len() as u64);
            left += chunk.bytes.len();
            came.extend(open_chunk(&mut chunk).unwrap());
        }
        prop_assert!(came == body && left <= body.len());
    }

    #[test]
    fn any_batch_says_what_it_said(records in proptest::collection::vec((any::<u64>(), bodies()), 0..4)) {
        let change = |(sequence, record): (u64, Vec<u8>)| {
            Change { sequence, record: record.into(), body_follows: sequence % 2 == 0 }
        };
        let said = batch(records.into_iter().map(change).collect());
        let mut packer = packing(&link(Compression::Zstd)).batches();
        let mut came = run(packer.batch(said.clone()));
        prop_assert!(came.encoded_len() <= said.encoded_len());
        open_batch(&mut came).unwrap();
        prop_assert_eq!((came.number, came.through, came.changes), (said.number, said.through, said.changes));
    }

    /// Whatever a broken sender makes of a frame: an error, or as many bytes as it named.
    #[test]
    fn no_frame_becomes_more_than_was_named(
        body in bodies(),
        named in 0..=256_u32 << 10,
        place in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let body = &body[..body.len().min(256 << 10)];
        let mut frame = zstd::bulk::compress(body, LEVEL).unwrap();
        let came = opened(&frame, named);
        if named as usize == body.len() {
            prop_assert!(came.unwrap() == body);
        } else {
            prop_assert_eq!(came, Err(Malformed::Bytes));
        }
        let place = place.index(frame.len());
        frame[place] = to;
        for bytes in [&frame[..], &frame[..cut.index(frame.len())]] {
            if let Ok(came) = opened(bytes, named) {
                prop_assert_eq!(came.len(), named as usize);
            }
        }
    }
}

#[test]
fn a_frame_that_would_fill_the_memory_is_refused_by_its_word_or_where_it_says_too_little() {
    let much = zstd::bulk::compress(&vec![0; 64 << 20], LEVEL).unwrap();
    assert!(much.len() < 16 << 10);
    assert_eq!(opened(&much, 64 << 20), Err(Malformed::Length));
    assert_eq!(opened(&much, u32::MAX), Err(Malformed::Length));
    assert_eq!(opened(&much, 256 << 10), Err(Malformed::Bytes));
    let packed =
        |length| Batch { packed: much.clone().into(), codec: Codec::Zstd.into(), length, ..batch(vec![]) };
    assert_eq!(open_batch(&mut packed(64 << 20)), Err(Malformed::Length));
    assert_eq!(open_batch(&mut packed(1 << 20)), Err(Malformed::Bytes));
    let mut other = Chunk { bytes: much.into(), codec: 77, length: 1, ..Chunk::default() };
    assert_eq!(open_chunk(&mut other), Err(Malformed::Codec));
}

/// Either side of a link may be updated first, and the setting may be changed in the middle of a body.
#[tokio::test]
async fn nothing_is_packed_that_was_not_asked_for_or_that_the_receiver_does_not_read() {
    let text = text(256 << 10);
    let link = link(Compression::Zstd);
    let mut to_an_older_version = Packing::new(&link, &Arc::default(), &Welcome::default()).body(0);
    assert_eq!(to_an_older_version.chunk(text.clone()).await, Packed::plain(text.clone()));
    let mut packer = packing(&link).body(0);
    assert!(packer.chunk(text.clone()).await.bytes.len() < text.len() / 10);
    link.desire(wishes(Compression::None));
    assert_eq!(packer.chunk(text.clone()).await, Packed::plain(text.clone()));
    link.desire(wishes(Compression::Zstd));
    assert_eq!(packer.chunk(text).await.codec, Codec::Zstd);
}

#[tokio::test]
async fn what_does_not_shrink_by_a_tenth_leaves_as_it_is() {
    let packing = packing(&link(Compression::Zstd));
    for (of_noise, is_packed) in [(0, true), (80, true), (95, false), (100, false)] {
        let mut bytes = noise(1, (100 << 10) * of_noise / 100);
        bytes.resize(100 << 10, 0);
        let codec = packing.body(0).chunk(bytes.into()).await.codec;
        assert_eq!(codec == Codec::Zstd, is_packed, "{of_noise} of 100 are noise");
    }
}

#[tokio::test]
async fn after_some_tries_in_vain_few_are_made_and_one_that_pays_is_followed_by_all() {
    let (text, link) = (text(64 << 10), link(Compression::Zstd));
    let packing = packing(&link);
    let is_packed = async |packer: &mut Packer, bytes| packer.chunk(bytes).await.codec == Codec::Zstd;
    let mut of_noise = packing.body(5);
    for number in 0..100 {
        assert!(!is_packed(&mut of_noise, noise(number, 64 << 10).into()).await);
    }
    // Of another kind it is tried at once, and of this one when it is time.
    assert!(is_packed(&mut packing.body(6), text.clone()).await);
    let mut of_text = packing.body(5);
    let mut passed = 0;
    while !is_packed(&mut of_text, text.clone()).await {
        passed += 1;
    }
    assert!((1..=PASSED_MAX).contains(&passed), "{passed}");
    let mut packed = 0;
    for number in 0..100 {
        // A body that does not shrink, beside it and of its kind, teaches it nothing.
        assert!(!is_packed(&mut of_noise, noise(number, 64 << 10).into()).await);
        packed += u64::from(is_packed(&mut of_text, text.clone()).await);
    }
    assert_eq!(packed, 100);
    // Nor does it keep the other from being tried, which may shrink further on.
    let mut passed = 0;
    while !is_packed(&mut of_noise, text.clone()).await {
        assert!(is_packed(&mut of_text, text.clone()).await);
        passed += 1;
    }
    assert!(passed <= PASSED_MAX, "{passed}");
}

#[test]
fn tries_in_vain_become_rare_and_never_end() {
    let (mut vain, mut judge) = (Vain::default(), Judge::default());
    let mut tried = Vec::new();
    for number in 0..70 {
        if judge.is_due(vain) {
            vain.learn(false);
            tried.push(number);
        }
    }
    assert_eq!(tried, [0, 1, 2, 3, 5, 9, 17, 28, 39, 50, 61]);
    (0..1_000).for_each(|_| vain.learn(false));
    assert_eq!(vain.to_pass(), PASSED_MAX);
    vain.learn(true);
    assert!(judge.is_due(vain));
}

#[test]
fn kinds_are_told_apart_by_content_type_and_by_the_end_of_the_name() {
    let kind = |key: &str, content_type: &str| {
        let mut object = Object::default();
        object.metadata.content_type = content_type.into();
        kind_of(&RecordKey::object("photos", key), &object)
    };
    assert_eq!(kind("a/1.log", "text/plain"), kind("b/2.log", "text/plain"));
    assert_ne!(kind("a/1.log", "text/plain"), kind("a/1.log.gz", "text/plain"));
    assert_ne!(kind("a", "text/plain"), kind("a", "image/jpeg"));
    assert!(["", ".", "a.", "ä.ß"].iter().all(|key| kind(key, "") < KINDS));
}

#[test]
fn parts_that_alternate_are_found_whatever_their_length() {
    for run in [1, 2, 4, 8, 16, 32] {
        for phase in 0..2 * run {
            let (mut judge, vain) = (Judge::default(), Vain(u8::MAX));
            let tried: Vec<usize> = (0..1_000).filter(|_| judge.is_due(vain)).take(5).collect();
            let shrinks = |chunk: &usize| ((chunk + phase) / run).is_multiple_of(2);
            assert!(tried.iter().any(shrinks), "{run} and {run}, from {phase}: {tried:?}");
        }
    }
}
