//! Listing, against a model that looks at everything.

use std::collections::BTreeSet;

use proptest::prelude::*;
use switchback_store::{ConflictPolicy, ListRequest, Listing};

use crate::support::{EAST, NAMESPACE, System, converge, pair, run};

/// What one page must show, found by looking at all keys.
fn model(keys: &BTreeSet<String>, request: &ListRequest) -> (Vec<String>, Vec<String>, bool) {
    let (mut objects, mut prefixes): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for key in keys.iter().filter(|key| key.starts_with(&request.prefix) && **key > request.start_after) {
        let rest = &key[request.prefix.len()..];
        let group = (!request.delimiter.is_empty())
            .then(|| rest.find(&request.delimiter))
            .flatten()
            .map(|at| key[..request.prefix.len() + at + request.delimiter.len()].to_owned());
        if group.as_ref().is_some_and(|group| prefixes.last() == Some(group) || *group == request.start_after)
        {
            continue;
        }
        if objects.len() + prefixes.len() == request.keys_max {
            return (objects, prefixes, true);
        }
        match group {
            Some(group) => prefixes.push(group),
            None => objects.push(key.clone()),
        }
    }
    (objects, prefixes, false)
}

fn keys_of(listing: &Listing) -> Vec<String> {
    listing.objects.iter().map(|entry| entry.key.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_listing_shows_what_a_look_at_everything_would(
        keys in prop::collection::btree_set("[ab/]{1,5}", 0..40),
        deleted in prop::collection::btree_set("[ab/]{1,5}", 0..10),
        requests in prop::collection::vec(("[ab/]{0,2}", "(|/|b|a/)", "[ab/]{0,3}", 1usize..6), 30),
    ) {
        run(async {
            let system = System::new(EAST);
            let content = system.tenant("alpha").await;
            for key in &keys {
                system.put(&content, key, "x").await.unwrap();
            }
            for key in &deleted {
                system.delete(&content, key).await;
            }
            let visible: BTreeSet<String> = keys.difference(&deleted).cloned().collect();
            for (prefix, delimiter, start_after, keys_max) in requests {
                let request = ListRequest { prefix, delimiter, start_after, keys_max };
                let page = system.catalogue.list(content.id, NAMESPACE, &request).unwrap();
                let (objects, prefixes, more) = model(&visible, &request);
                prop_assert_eq!(keys_of(&page), objects);
                prop_assert_eq!(&page.common_prefixes, &prefixes);
                prop_assert_eq!(page.next_start_after.is_some(), more);
            }
            Ok(())
        })?;
    }
}

#[test]
fn what_was_lost_and_found_shows_only_to_who_asks_for_it() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "east").await.unwrap();
        west.put(&content, "a", "west").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        let list = |prefix: &str, delimiter: &str| {
            let request = ListRequest {
                prefix: prefix.into(),
                delimiter: delimiter.into(),
                keys_max: 10,
                ..ListRequest::default()
            };
            east.catalogue.list(content.id, NAMESPACE, &request).unwrap()
        };
        for (prefix, delimiter) in [("", ""), ("", "/")] {
            let page = list(prefix, delimiter);
            assert_eq!((keys_of(&page), page.common_prefixes), (vec!["a".to_owned()], Vec::new()));
        }
        assert_eq!(list(".lost", "/").common_prefixes, Vec::<String>::new());
        assert_eq!(list(".lost+found", "/").common_prefixes, [".lost+found/"]);
        let kept = keys_of(&list(".lost+found/", ""));
        assert_eq!(kept.len(), 1);
        // A client may delete what was kept, and only that: so it can empty the namespace.
        east.delete(&content, &kept[0]).await;
        assert_eq!(keys_of(&list(".lost+found/", "")), Vec::<String>::new());
    });
}

#[test]
fn pages_join_up_to_the_whole() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        for key in ["a", "b/1", "b/2", "b/3", "c", "d/1", "e\u{10ffff}", "f/x/y"] {
            system.put(&content, key, "x").await.unwrap();
        }
        let mut request = ListRequest { delimiter: "/".into(), keys_max: 1, ..ListRequest::default() };
        let mut seen = Vec::new();
        loop {
            let page = system.catalogue.list(content.id, NAMESPACE, &request).unwrap();
            seen.extend(keys_of(&page));
            seen.extend(page.common_prefixes);
            match page.next_start_after {
                Some(next) => request.start_after = next,
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b/", "c", "d/", "e\u{10ffff}", "f/"]);
    });
}
