//! What the system log says of storage that goes bad.

use std::time::Duration;

use switchback_link_core::{Change, DamageView, Event, Input, LinkMachine, MoverView, Policy, State};
use switchback_machine::{Machine as _, Outbox, Timestamp};

struct Log {
    machine: LinkMachine,
    now: Timestamp,
}

impl Log {
    fn new() -> Self {
        let now = Timestamp(1_000_000);
        Self { machine: LinkMachine::recover(Policy::default(), State::default(), 1, now), now }
    }

    /// The events that this view of the mover adds.
    fn seen(&mut self, damage: DamageView) -> Vec<Event> {
        let view = MoverView { boot: 1, store: 1, damage, ..MoverView::default() };
        let mut outbox = Outbox::new();
        self.machine.step(self.now, Input::MoverSeen(Box::new(view)), &mut outbox);
        let event = |change| match change {
            Change::PutEvent(event) => Some(event),
            _ => None,
        };
        outbox.changes.into_iter().filter_map(event).collect()
    }

    fn ids(&mut self, (waiting, unrepairable, found): (u64, u64, u64)) -> Vec<String> {
        let events = self.seen(DamageView { waiting, unrepairable, found, ..DamageView::default() });
        events.into_iter().map(|event| event.id).collect()
    }
}

#[test]
fn the_beginning_and_the_end_of_damage_are_told_and_not_each_object() {
    let mut log = Log::new();
    assert_eq!(log.ids((0, 0, 5)), [""; 0], "that was before");
    assert_eq!(log.ids((1, 0, 6)), ["damage-found"]);
    assert_eq!(log.ids((7, 0, 12)), [""; 0]);
    assert_eq!(log.ids((3, 2, 12)), ["damage-unrepairable"]);
    assert_eq!(log.ids((0, 3, 13)), [""; 0]);
    assert_eq!(log.ids((0, 0, 13)), ["damage-repaired"]);
    assert_eq!(log.ids((1, 0, 14)), [""; 0], "so soon after");
    assert_eq!(log.ids((0, 0, 14)), [""; 0]);
    log.now = log.now + Duration::from_secs(600);
    // It was found and repaired between two looks.
    assert_eq!(log.ids((0, 0, 15)), ["damage-found", "damage-repaired"]);
    // What is still there after a start is told again.
    assert_eq!(Log::new().ids((1, 1, 15)), ["damage-found", "damage-unrepairable"]);
}

#[test]
fn a_storage_that_is_gone_is_told_with_what_to_do_and_so_is_its_return() {
    let mut log = Log::new();
    let gone = DamageView { storage: "mount its file system".into(), ..DamageView::default() };
    let told = log.seen(gone.clone());
    assert_eq!(
        (told.len(), told[0].id.as_str(), told[0].text.as_str()),
        (1, "storage-gone", "mount its file system")
    );
    assert!(log.seen(gone).is_empty());
    assert_eq!(log.ids((0, 0, 0)), ["storage-back"]);
}
