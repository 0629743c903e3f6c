//! Any history of commits, views, closings and kills leaves what it would leave in a map.

use std::ops::RangeBounds as _;

use super::*;

type Map = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Row>),
    /// Look now, and again at every later step.
    View,
    Forget,
    Scan(Family, Bound<Vec<u8>>, Bound<Vec<u8>>),
    Prefix(Family, Vec<u8>),
}

/// Steps until the engine is closed, or its process killed.
#[derive(Clone, Debug)]
struct Life {
    steps: Vec<Step>,
    is_killed: bool,
}

fn family() -> impl Strategy<Value = Family> {
    (0..Family::ALL.len()).prop_map(|index| Family::ALL[index].0)
}

/// Few enough that they meet, and with the bytes at the ends of the range.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, b'a', b'b', 0xfe, 0xff]), 1..4)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![Just(Unbounded), key().prop_map(Included), key().prop_map(Excluded)]
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        2 => Just(None),
        4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        1 => any::<u64>().prop_map(|seed| Some(noise(seed, 5_000))),
    ];
    prop_oneof![
        6 => prop::collection::vec((family(), key(), value), 0..12).prop_map(Step::Commit),
        2 => Just(Step::View),
        1 => Just(Step::Forget),
        2 => (family(), bound(), bound()).prop_map(|(family, from, to)| Step::Scan(family, from, to)),
        1 => (family(), prop::collection::vec(prop::sample::select(vec![0, b'a', 0xff]), 0..3))
            .prop_map(|(family, prefix)| Step::Prefix(family, prefix)),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    (prop::collection::vec(step(), 0..16), any::<bool>())
        .prop_map(|(steps, is_killed)| Life { steps, is_killed })
}

fn look(view: &View<'_>, map: &Map) {
    for (family, _) in Family::ALL {
        let rows: Vec<_> = view.range(family, Unbounded, Unbounded).map(Result::unwrap).collect();
        let expected = map.iter().filter(|((of, _), _)| *of == family);
        let expected: Vec<_> = expected.map(|((_, key), value)| (key.clone(), value.clone())).collect();
        assert_eq!(rows, expected);
        for (key, value) in expected {
            assert_eq!(view.row(family, &key).unwrap(), Some(value));
        }
    }
}

fn live(engine: &Engine, map: &mut Map, steps: Vec<Step>) {
    let mut views = vec![(engine.view(), map.clone())];
    for step in steps {
        match step {
            Step::Commit(rows) => {
                for (family, key, value) in rows.clone() {
                    match value {
                        Some(value) => drop(map.insert((family, key), value)),
                        None => drop(map.remove(&(family, key))),
                    }
                }
                engine.commit(rows).unwrap();
                look(&engine.view(), map);
            }
            Step::View => views.push((engine.view(), map.clone())),
            Step::Forget => drop(views.pop()),
            Step::Scan(family, from, to) => {
                let is_within = |key: &Vec<u8>| (from.clone(), to.clone()).contains(key);
                let expected = map.keys().filter(|(of, key)| *of == family && is_within(key));
                let expected: Vec<_> = expected.map(|(_, key)| key.clone()).collect();
                assert_eq!(keys(engine.view().range(family, from.clone(), to.clone())), expected);
            }
            Step::Prefix(family, prefix) => {
                let expected = map.keys().filter(|(of, key)| *of == family && key.starts_with(&prefix));
                let expected: Vec<_> = expected.map(|(_, key)| key.clone()).collect();
                assert_eq!(keys(engine.view().prefix(family, &prefix)), expected);
            }
        }
        for (view, map) in &views {
            look(view, map);
        }
    }
}

pub(super) fn check<M: Maker>() {
    let lives = prop::collection::vec(life(), 1..5);
    proptest!(ProptestConfig::with_cases(24), |(lives in lives)| {
        let (mut place, mut map) = (M::new(), Map::new());
        for Life { steps, is_killed } in lives {
            let engine = place.open().unwrap();
            look(&engine.view(), &map);
            live(&engine, &mut map, steps);
            if is_killed {
                place = place.killed();
            }
        }
    });
}
