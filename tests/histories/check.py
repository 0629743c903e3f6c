"""What every history must show. Each property is a function that names what breaks it.

Two versions of a key have a *known order* where a client knew of the one when it wrote the other: the same system
acknowledged one before the other was asked of it, or the other was conditional on it. A system keeps its versions in
that order, so what is known to be older is never current again. Versions that two systems took while no message could
pass between them have no known order: the one that loses must be kept aside and listed. Of other pairs, one on each
system, the second may have known the first, and is let count as if it had.

Known order is all that is used. It needs no clock of the systems, and as every value is written once, each question
about a key is answered by looking at pairs: nothing is searched.
"""

import bisect
import collections
import dataclasses

from history import DONE, REFUSED, SYSTEMS, UNKNOWN

LOST_AND_FOUND = ".lost+found/replication/acme/"

# How long a request may still take effect after its client was told nothing. Every hop gives up far sooner.
LINGERS_S = 30


class Key:
    """The operations on one key, and the known order of its versions."""

    def __init__(self, name, operations, wipes, left, apart):
        self.name, self.apart = name, apart
        self.operations = sorted(operations, key=lambda operation: operation.start)
        self.wipes = wipes
        self.written = {op.value: op for op in self.operations if op.kind == "put" and op.outcome != REFUSED}
        self.writes = [op for op in self.operations if op.writes and op.outcome != REFUSED]
        # By a client, or at the end.
        self.seen = {op.value for op in self.operations if op.kind == "get" and op.outcome == DONE} | left
        self.starts = [op.start for op in self.writes]
        # What names the value as the one that it replaces.
        self.conditional = collections.defaultdict(list)
        for op in self.writes:
            if op.condition not in ("", "absent"):
                self.conditional[op.condition].append(op)
        self.done = {
            system: sorted(
                (op for op in self.writes if op.system == system and op.outcome == DONE), key=lambda op: op.start
            )
            for system in SYSTEMS
        }
        self.done_starts = {system: [op.start for op in done] for system, done in self.done.items()}

    def life(self, system, moment):
        """Which life of the system it was: a wiped one forgets."""
        return bisect.bisect(self.wipes[system], moment)

    def same_life(self, system, *moments):
        return len({self.life(system, moment) for moment in moments}) == 1

    def later(self, op):
        """A write that is known to be later than `op`, and took effect: acknowledged, or seen."""
        # A life after a wipe has what the other system had.
        for other in self.writes[bisect.bisect(self.starts, op.end) :]:
            if not (other.system != op.system and self.were_apart(op, other)) and self.took_effect(other):
                return other
        return next((other for other in self.conditional[op.value] if self.took_effect(other)), None)

    def may_have_lost_to(self, op, current):
        """A write of what is current (a delete, if nothing is) that did not end before `op` began."""
        for other in self.writes:
            if other is op or other.value != current:
                continue
            # Of two at once either may be the later one.
            lingers = LINGERS_S if other.outcome == UNKNOWN else 0
            apart = other.system != op.system and self.were_apart(op, other) and self.were_apart(other, op)
            if other.end + lingers >= op.start and not apart:
                return other
        return None

    def were_apart(self, first, second):
        """The second cannot have known the first."""
        return any(first.start > start and second.end < end for start, end in self.apart)

    def took_effect(self, op):
        return op.outcome == DONE or (op.value is not None and op.value in self.seen)

    def overwritten(self, op, system, moment):
        """A write that had replaced `op` on `system` before `moment`, for good."""
        # An unknown outcome may take effect at any later time.
        if op.system == system and op.outcome == DONE and self.same_life(system, op.start, moment):
            done = self.done[system]
            for other in done[bisect.bisect(self.done_starts[system], op.end) :]:
                if other.start >= moment:
                    break
                if other.end < moment:
                    return other
        for other in self.conditional[op.value]:
            done = other.outcome == DONE and other.system == system and other.end < moment
            if done and self.same_life(system, other.start, moment):
                return other
        return None


def keys_of(history):
    wipes = {
        system: sorted(event.start for event in history.events if event.kind == "wipe" and event.about["system"] == system)
        for system in SYSTEMS
    }
    apart = [(event.start, event.end) for event in history.events if event.kind == "apart"]
    by_key = collections.defaultdict(list)
    for operation in history.operations:
        by_key[operation.key].append(operation)
    now, left = history.final["objects"]["west"], collections.defaultdict(set)
    for name in by_key:
        left[name].add(now.get(name))
    for entry in history.final["divergences"]["west"]:
        left[entry["key"]].add(now.get(entry["kept_at"]))
    return [Key(name, operations, wipes, left[name] - {None}, apart) for name, operations in by_key.items()]


def nothing_acknowledged_is_lost(history):
    """Acknowledged is current, or known to be superseded, or kept aside and listed, or was only on a system that was destroyed."""
    listed = {(entry["key"], entry["kept_at"]) for entry in history.final["divergences"]["west"]}
    now = history.final["objects"]["west"]
    kept = {(key, now.get(kept_at)) for key, kept_at in listed if kept_at}
    deletes = {entry["key"] for entry in history.final["divergences"]["west"] if entry["loser"]["deleted"]}
    for key in keys_of(history):
        for op in key.writes:
            if op.outcome != DONE or now.get(key.name) == op.value or key.later(op):
                continue
            if key.may_have_lost_to(op, now.get(key.name)):
                continue
            if op.value is not None and (key.name, op.value) in kept:
                continue
            if op.value is None and (key.name in deletes or not was_there(key, now.get(key.name), op)):
                continue
            if not is_destroyed(history, key, op):
                yield f"lost: {op}; now {now.get(key.name)}"


def was_there(key, value, delete):
    """The system of a delete is known to have had `value` when it was asked. A delete of what is not there is no version:
    what arrives later from where it was not known is current."""
    return any(
        op.value == value
        and op.system == delete.system
        and op.outcome == DONE
        and op.end < delete.start
        and key.same_life(op.system, op.start, delete.end)
        for op in key.operations
    )


def is_destroyed(history, key, op):
    """Its system was destroyed afterwards, and had not told that the other one has it."""
    if op.value in key.seen and any(
        read.value == op.value and read.system != op.system for read in key.operations if read.kind == "get"
    ):
        return False
    return any(
        event.kind == "wipe"
        and event.about["system"] == op.system
        and op.start < event.end
        and op.end > event.about["safe_until"]
        for event in history.events
    )


def what_is_listed_is_kept(history):
    """The report and what is kept aside name each other."""
    for system in SYSTEMS:
        listed = {entry["kept_at"] for entry in history.final["divergences"][system] if entry["kept_at"]}
        kept = {key for key in history.final["objects"][system] if key.startswith(LOST_AND_FOUND)}
        for key in sorted(listed ^ kept):
            yield f"on {system} {key} is {'listed and not kept' if key in listed else 'kept and not listed'}"


def both_systems_end_equal(history):
    """Listings, values and reports."""
    for what in ("objects", "divergences"):
        east, west = (history.final[what][system] for system in SYSTEMS)
        if east != west:
            yield f"{what} differ: {str(east)[:200]} on east, {str(west)[:200]} on west"


def reads_return_what_was_written(history):
    """And not before it was asked for."""
    for key in keys_of(history):
        for read in key.operations:
            if read.kind != "get" or read.outcome != DONE or read.value is None:
                continue
            write = key.written.get(read.value)
            if write is None:
                yield f"never written: {read}"
            elif write.start > read.end:
                yield f"read before it was written: {read}, {write}"


def a_read_sees_the_last_write_of_its_system(history):
    """Linearizable, per key: nothing reads what an acknowledged write on the same system had replaced for good."""
    for key in keys_of(history):
        for read in map(as_read, key.operations):
            if read is None:
                continue
            if read.value is None:
                stale = absent_although_written(key, read)
            else:
                write = key.written.get(read.value)
                stale = write and key.overwritten(write, read.system, read.start)
            if stale:
                yield f"stale: {read} after {stale}"


def as_read(op):
    """What a get returned, or what a conditional put must have found to succeed; None if neither."""
    if op.outcome != DONE or (op.kind != "get" and not op.condition):
        return None
    if op.kind == "get":
        return op
    found = None if op.condition == "absent" else op.condition
    return dataclasses.replace(op, kind="get", value=found)


def absent_although_written(key, read):
    """An acknowledged put on this system, after which nothing anywhere can have deleted the key."""
    for put in key.done[read.system]:
        if put.kind != "put" or put.end >= read.start or not key.same_life(read.system, put.start, read.end):
            continue
        deleted = any(
            op.kind == "delete" and op.start < read.end and (op.system != put.system or op.end > put.start or op.outcome == UNKNOWN)
            for op in key.writes
        )
        if not deleted:
            return put
    return None


def reads_never_go_back(history):
    """On one system, in one of its lives: after a version, none that is known to be older."""
    for key in keys_of(history):
        for system in SYSTEMS:
            reads = [op for op in key.operations if op.kind == "get" and op.outcome == DONE and op.system == system]
            for before, after in zip(reads, reads[1:], strict=False):
                if before.value is None or after.value is None or before.value == after.value or before.end >= after.start:
                    continue
                newer, older = key.written.get(before.value), key.written.get(after.value)
                if newer and older and key.same_life(system, before.start, after.end) and is_known_older(key, older, newer):
                    yield f"went back: {after} after {before}"


def is_known_older(key, older, newer):
    if newer.condition == older.value:
        return True
    same = older.system == newer.system and older.outcome == DONE and older.end < newer.start
    return same and key.same_life(older.system, older.start, newer.end)


def a_condition_holds_once(history):
    """Of conditional writes on one system that name the same version, one succeeds."""
    for key in keys_of(history):
        for system in SYSTEMS:
            won = collections.defaultdict(list)
            for op in key.done[system]:
                if op.condition not in ("", "absent"):
                    won[(op.condition, key.life(system, op.start))].append(op)
            for ops in won.values():
                if len(ops) > 1:
                    yield f"both succeeded: {ops[0]}, {ops[1]}"


def deletes_stay(history):
    """What was deleted knowingly does not come back: at the end no value is known to be older than a delete."""
    now = history.final["objects"]["west"]
    for key in keys_of(history):
        current = key.written.get(now.get(key.name))
        if current is None or current.outcome != DONE:
            continue
        for delete in key.done[current.system]:
            if delete.kind == "delete" and delete.start > current.end and key.same_life(
                current.system, current.start, delete.end
            ):
                yield f"rose again: {current} after {delete}"


def only_the_holder_writes(history):
    """A system that was seen read-only twice, in one epoch that names the other one, acknowledged nothing in between."""
    seen = collections.defaultdict(list)
    for event in history.events:
        if event.kind == "seen":
            seen[event.about["system"]].append(event)
    for system, events in seen.items():
        holds = 0 if system == "east" else 1
        acknowledged = sorted(
            (op for op in history.operations if op.writes and op.outcome == DONE and op.system == system),
            key=lambda op: op.start,
        )
        starts = [op.start for op in acknowledged]
        for first, second in zip(events, events[1:], strict=False):
            ours = {key: first.about[key] for key in ("epoch", "mode")}
            if ours != {key: second.about[key] for key in ("epoch", "mode")}:
                continue
            if ours["mode"] != "read-only" or ours["epoch"] % 2 == holds:
                continue
            for op in acknowledged[bisect.bisect(starts, first.end) :]:
                if op.start > second.start:
                    break
                if op.end < second.start:
                    yield f"{system} was read-only in epoch {ours['epoch']}: {op}"


def epochs_never_go_back(history):
    """On one system, in one of its lives."""
    last = {}
    for event in sorted(history.events, key=lambda event: event.start):
        system = event.about.get("system")
        if event.kind == "wipe":
            last.pop(system, None)
        elif event.kind == "seen":
            if event.about["epoch"] < last.get(system, 0):
                yield f"{system} went from epoch {last[system]} to {event.about['epoch']} at {event.start}"
            last[system] = event.about["epoch"]


PROPERTIES = [
    nothing_acknowledged_is_lost,
    what_is_listed_is_kept,
    both_systems_end_equal,
    reads_return_what_was_written,
    a_read_sees_the_last_write_of_its_system,
    reads_never_go_back,
    a_condition_holds_once,
    deletes_stay,
    only_the_holder_writes,
    epochs_never_go_back,
]


def check(history):
    """What is broken, by property."""
    return {
        prove.__name__: found for prove in PROPERTIES if (found := list(prove(history)))
    }


def counts(history):
    """What the history is made of."""
    outcomes = collections.Counter((op.kind, op.outcome) for op in history.operations)
    events = collections.Counter(event.kind for event in history.events)
    return {
        "operations": {f"{kind} {outcome}": count for (kind, outcome), count in sorted(outcomes.items())},
        "events": dict(sorted(events.items())),
        "keys": len({op.key for op in history.operations}),
        "divergences": len(history.final["divergences"]["west"]),
    }


def without(history, unwanted):
    """The history without some operations: for tests of the checker."""
    return dataclasses.replace(history, operations=[op for op in history.operations if op != unwanted])
