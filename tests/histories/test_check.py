"""The checker itself: it lets a good history pass, and refuses each kind of bad one."""

import check
from history import DONE, REFUSED, UNKNOWN, Event, History, Operation


def op(kind, key, value, start, system="east", condition="", outcome=DONE):
    return Operation("c", system, kind, key, value, condition, outcome, start, start + 0.5)


def final(objects, divergences=()):
    return {
        "objects": {"east": objects, "west": dict(objects)},
        "divergences": {"east": list(divergences), "west": list(divergences)},
    }


def lost(key, kept_at, deleted=False):
    return {"key": key, "kept_at": kept_at, "loser": {"deleted": deleted}}


def seen(system, epoch, mode, start):
    return Event("seen", start, start + 0.1, {"system": system, "epoch": epoch, "mode": mode})


def broken(operations, objects, divergences=(), events=()):
    return sorted(check.check(History(list(operations), list(events), final(objects, divergences))))


def test_a_plain_history_passes():
    operations = [
        op("put", "a", "1", 1),
        op("get", "a", "1", 2),
        op("put", "a", "2", 3, condition="1"),
        op("get", "a", "2", 4, system="west"),
        op("delete", "a", None, 5),
        op("get", "a", None, 6),
        op("put", "a", "3", 7, outcome=UNKNOWN),
        op("put", "a", "4", 8, outcome=REFUSED),
        op("put", "b", "5", 9),
    ]
    assert broken(operations, {"b": "5"}) == []
    assert broken(operations, {"a": "3", "b": "5"}) == []


def test_a_conflict_whose_loser_is_kept_and_listed_passes():
    operations = [op("put", "a", "1", 1), op("put", "a", "2", 2, system="west")]
    apart = [Event("apart", 0, 9, {})]
    aside = check.LOST_AND_FOUND + "a@1"
    assert broken(operations, {"a": "2", aside: "1"}, [lost("a", aside)], apart) == []
    assert broken(operations, {"a": "2"}, events=apart) == ["nothing_acknowledged_is_lost"]
    assert broken(operations, {"a": "2", aside: "1"}, events=apart) == [
        "nothing_acknowledged_is_lost",
        "what_is_listed_is_kept",
    ]
    assert "what_is_listed_is_kept" in broken(operations, {"a": "2"}, [lost("a", aside)], apart)
    assert broken(operations, {"a": "2"}) == [], "in contact the second may have known the first"


def test_a_delete_of_nothing_gives_way_to_what_it_could_not_know():
    operations = [op("put", "a", "1", 1), op("delete", "a", None, 3, system="west")]
    assert broken(operations, {"a": "1"}) == []
    known = [*operations, op("get", "a", "1", 2, system="west")]
    assert broken(known, {"a": "1"}) == ["nothing_acknowledged_is_lost"]


def test_a_write_that_vanished_is_lost():
    assert broken([op("put", "a", "1", 1)], {}) == ["nothing_acknowledged_is_lost"]
    assert broken([op("put", "a", "1", 1, outcome=UNKNOWN)], {}) == []


def test_of_two_writes_at_once_either_may_be_the_later_one():
    operations = [op("put", "a", "1", 1), op("put", "a", "2", 1.2)]
    assert broken(operations, {"a": "1"}) == broken(operations, {"a": "2"}) == []
    assert broken(operations, {}) == ["nothing_acknowledged_is_lost"]
    deleted = [op("put", "a", "1", 1), op("delete", "a", None, 1.2)]
    assert broken(deleted, {"a": "1"}) == broken(deleted, {}) == []
    on_both = [op("put", "a", "1", 1), op("put", "a", "2", 1.2, system="west")]
    assert broken(on_both, {"a": "1"}, events=[Event("apart", 0, 9, {})]) == ["nothing_acknowledged_is_lost"]


def test_what_nobody_knows_the_end_of_may_take_effect_later():
    put = op("put", "a", "2", 2)
    assert broken([put, op("delete", "a", None, 3, outcome=UNKNOWN)], {}) == []
    assert broken([op("put", "a", "1", 1, outcome=UNKNOWN), put], {"a": "1"}) == []
    long_ago = op("delete", "a", None, 2, outcome=UNKNOWN)
    assert broken([long_ago, op("put", "a", "1", 99)], {}) == ["nothing_acknowledged_is_lost"]


def test_what_only_a_destroyed_system_had_is_destroyed():
    wipe = Event("wipe", 5, 6, {"system": "east", "safe_until": 2})
    assert broken([op("put", "a", "1", 3)], {}, events=[wipe]) == []
    safe = Event("wipe", 5, 6, {"system": "east", "safe_until": 4})
    assert broken([op("put", "a", "1", 3)], {}, events=[safe]) == ["nothing_acknowledged_is_lost"]
    on_both = [op("put", "a", "1", 3), op("get", "a", "1", 4, system="west")]
    assert broken(on_both, {}, events=[wipe]) == ["nothing_acknowledged_is_lost"]
    other = Event("wipe", 5, 6, {"system": "west", "safe_until": 2})
    assert broken([op("put", "a", "1", 3)], {}, events=[other]) == ["nothing_acknowledged_is_lost"]


def test_a_stale_read_is_found():
    operations = [op("put", "a", "1", 1), op("put", "a", "2", 2), op("get", "a", "1", 3)]
    assert broken(operations, {"a": "2"}) == ["a_read_sees_the_last_write_of_its_system"]
    overlapping = [op("put", "a", "1", 1), op("put", "a", "2", 2), op("get", "a", "1", 2.2)]
    assert broken(overlapping, {"a": "2"}) == []
    behind = [op("put", "a", "1", 1), op("put", "a", "2", 2), op("get", "a", "1", 3, system="west")]
    assert broken(behind, {"a": "2"}) == [], "the replica may be behind"


def test_an_object_that_was_not_there_is_found():
    operations = [op("put", "a", "1", 1), op("get", "a", None, 2)]
    assert broken(operations, {"a": "1"}) == ["a_read_sees_the_last_write_of_its_system"]
    deleted = [*operations, op("delete", "a", None, 1.8), op("put", "a", "2", 3)]
    assert broken(deleted, {"a": "2"}) == []


def test_a_read_that_went_back_is_found():
    operations = [
        op("put", "a", "1", 1),
        op("put", "a", "2", 2),
        op("get", "a", "2", 3, system="west"),
        op("get", "a", "1", 4, system="west"),
    ]
    assert broken(operations, {"a": "2"}) == ["reads_never_go_back"]


def test_a_value_that_nobody_wrote_or_not_yet_is_found():
    assert broken([op("get", "a", "1", 1)], {}) == ["reads_return_what_was_written"]
    assert broken([op("get", "a", "1", 1, system="west"), op("put", "a", "1", 2)], {"a": "1"}) == [
        "reads_return_what_was_written"
    ]


def test_a_condition_that_held_twice_is_found():
    operations = [
        op("put", "a", "1", 1),
        op("put", "a", "2", 2, condition="1"),
        op("put", "a", "3", 2, condition="1"),
    ]
    assert "a_condition_holds_once" in broken(operations, {"a": "3"})


def test_a_condition_on_what_was_replaced_is_found():
    operations = [op("put", "a", "1", 1), op("put", "a", "2", 2), op("put", "a", "3", 3, condition="1")]
    assert broken(operations, {"a": "3"}) == ["a_read_sees_the_last_write_of_its_system"]
    at_once = [operations[0], op("put", "a", "2", 2.8), operations[2]]
    assert broken(at_once, {"a": "2"}) == []


def test_two_that_both_found_nothing_are_found():
    first, second = op("put", "a", "1", 1, condition="absent"), op("put", "a", "2", 3, condition="absent")
    assert broken([first, second], {"a": "2"}) == ["a_read_sees_the_last_write_of_its_system"]
    for deleted in (op("delete", "a", None, 2), op("delete", "a", None, 0, outcome=UNKNOWN)):
        assert broken([first, second, deleted], {"a": "2"}) == []


def test_a_delete_that_was_undone_is_found():
    operations = [op("put", "a", "1", 1), op("delete", "a", None, 2)]
    assert "deletes_stay" in broken(operations, {"a": "1"})
    assert broken(operations, {}) == []


def test_a_write_on_the_read_only_side_is_found():
    events = [seen("east", 1, "read-only", 1), seen("east", 1, "read-only", 5)]
    assert broken([op("put", "a", "1", 2)], {"a": "1"}, events=events) == ["only_the_holder_writes"]
    returned = [seen("east", 1, "read-only", 1), seen("east", 2, "read-write", 5)]
    assert broken([op("put", "a", "1", 2)], {"a": "1"}, events=returned) == []


def test_an_epoch_that_went_back_is_found():
    events = [seen("west", 3, "read-write", 1), seen("west", 2, "read-only", 2)]
    assert broken([], {}, events=events) == ["epochs_never_go_back"]
    wiped = [events[0], Event("wipe", 1.5, 1.6, {"system": "west", "safe_until": 0}), events[1]]
    assert broken([], {}, events=wiped) == []


def test_systems_that_end_unequal_are_found():
    history = History([], [], final({}))
    history.final["objects"]["west"] = {"a": "1"}
    assert sorted(check.check(history)) == ["both_systems_end_equal"]


def test_a_history_is_the_same_after_it_was_saved(tmp_path):
    history = History([op("put", "a", "1", 1)], [seen("east", 0, "read-write", 1)], final({"a": "1"}))
    history.save(tmp_path / "history")
    assert History.load(tmp_path / "history") == history
