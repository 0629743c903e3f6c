"""Clients that write on both systems all the time, and the account of what they were told.

Each write records what it replaced, as its client saw it and made sure of by a conditional request. So the account
needs no clock: an acknowledged write is current on both systems, or another write replaced it knowingly, or it is kept
aside and listed, or it is lost.
"""

import dataclasses
import hashlib
import itertools
import math
import threading
import time

import botocore.exceptions

SYSTEMS = ("east", "west")
LOST_AND_FOUND = ".lost+found/replication/acme/"
HOT_KEYS = 4
DOOMED_KEYS = 40
PACE = 0.03


@dataclasses.dataclass(frozen=True)
class Write:
    system: str
    key: str
    # ETags; None is no object, so a write of None is a delete.
    value: str | None
    replaced: str | None
    acknowledged: bool
    start: float
    end: float


class Client(threading.Thread):
    """Writes on one system, whether it accepts or not."""

    def __init__(self, lab, system, ledger):
        super().__init__(name=f"client of {system}")
        self.s3, self.bucket = lab.s3(system, connect_timeout=2, read_timeout=5), lab.bucket
        self.system, self.ledger = system, ledger
        self.doomed = [key for key in ledger.doomed if (int(key.split("/")[1]) % 2 == 0) == (system == "east")]

    def run(self):
        for number in itertools.count():
            pause = PACE if self.act(number) else 4 * PACE
            if self.ledger.stopped.wait(pause):
                return

    def act(self, number):
        try:
            if number % 8 == 5 and self.doomed:
                self.delete(self.doomed[0])
                del self.doomed[0]
            elif number % 2 == 0:
                self.put(f"hot/{number // 2 % HOT_KEYS}", self.now(f"hot/{number // 2 % HOT_KEYS}"))
            else:
                self.put(f"{self.system}/{number}", None)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            return False
        return True

    def now(self, key):
        try:
            return self.s3.head_object(Bucket=self.bucket, Key=key)["ETag"]
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    def put(self, key, replaced):
        body = f"{key} on {self.system} at {time.monotonic_ns()}".encode()
        value = f'"{hashlib.md5(body).hexdigest()}"'
        condition = {"IfMatch": replaced} if replaced else {"IfNoneMatch": "*"}
        with self.ledger.writing(self.system, key, value, replaced):
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **condition)

    def delete(self, key):
        with self.ledger.writing(self.system, key, None, self.ledger.doomed[key]):
            self.s3.delete_object(Bucket=self.bucket, Key=key)


class Writing:
    """Records a write when it ends; acknowledged if it ended well."""

    def __init__(self, ledger, *what):
        self.ledger, self.what, self.start = ledger, what, time.time()

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        self.ledger.writes.append(Write(*self.what, failure is None, self.start, time.time()))


class Ledger:
    """Every write of both clients while the workflow goes on."""

    def __init__(self, lab):
        self.lab, self.writes, self.stopped = lab, [], threading.Event()
        # Objects that are there from the beginning and deleted once, by one client, for ever.
        self.doomed = {}
        for number in range(DOOMED_KEYS):
            key = f"doomed/{number}"
            start = time.time()
            value = lab.s3("east").put_object(Bucket=lab.bucket, Key=key, Body=key.encode())["ETag"]
            self.writes.append(Write("east", key, value, None, True, start, time.time()))
            self.doomed[key] = value
        self.clients = [Client(lab, system, self) for system in ("east", "west")]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopped.set()
        for client in self.clients:
            client.join()

    def writing(self, *what):
        return Writing(self, *what)

    def acknowledged(self, *systems):
        return [write for write in list(self.writes) if write.acknowledged and write.system in (systems or SYSTEMS)]

    def forget_what_was_lost_with(self, system, survivor, known_until):
        """`system` is destroyed: what only it held is gone. What it had told to be durable on the other side is not."""
        held = self.lab.keys(survivor)
        for index, write in enumerate(self.writes):
            reached = held.get(write.key) == write.value or write.end <= known_until
            superseded = any(held.get(write.key) == other.value for other in self.replacing(write))
            if write.system == system and not reached and not superseded:
                self.writes[index] = dataclasses.replace(write, acknowledged=False)

    def account(self):
        """Nothing acknowledged is lost, and both systems hold the same."""
        # What is kept aside is listed only to those who ask for it.
        held = {system: self.lab.keys(system) | self.lab.keys(system, LOST_AND_FOUND) for system in SYSTEMS}
        assert held["east"] == held["west"], sorted(set(held["east"].items()) ^ set(held["west"].items()))[:6]
        now = held["west"]
        listed = self.lab.at("west", "link", "divergences", "acme")["divergences"]
        aside = {entry["kept_at"]: entry["key"] for entry in listed if entry["kept_at"]}
        assert set(aside) == {key for key in now if key.startswith(LOST_AND_FOUND)}, f"listed {aside}, now {now}"
        kept = {(key, now[kept_at]) for kept_at, key in aside.items()}
        lost = [write for write in self.acknowledged() if not self.accounted(write, now, kept)]
        assert not lost, f"{len(lost)} of {len(self.acknowledged())} are lost: " + "\n".join(
            f"{write}\n  now {now.get(write.key)}, all of the key: {self.of(write.key)}" for write in lost[:3]
        )
        return f"{len(self.acknowledged())} acknowledged, {len(kept)} kept aside"

    def of(self, key):
        return [write for write in self.writes if write.key == key]

    def replacing(self, write):
        """A delete is never replaced: nobody writes a doomed key again."""
        return [other for other in self.of(write.key) if write.value and other.replaced == write.value]

    def accounted(self, write, now, kept):
        if now.get(write.key) == write.value or (write.key, write.value) in kept:
            return True
        return any(other.acknowledged or self.was_seen(other, now, kept) for other in self.replacing(write))

    def was_seen(self, write, now, kept):
        """Although its client was not told: its value was found anywhere afterwards."""
        found = now.get(write.key) == write.value or (write.key, write.value) in kept
        return found or bool(self.replacing(write))

    def one_writer_at_a_time(self):
        """Between an acknowledgement by one system and the next by the other, authority moved.

        A primary that could not be told of a failover writes on until it hears of it; no longer.
        """
        told = self.lab.at("west", "log")["events"]
        isolated = any(event["id"] == "failed-over" and "could not be told" in event["text"] for event in told)
        moved = {
            "west": [event["unix_ms"] for event in told if event["id"] in ("failover-started", "failed-over")],
            "east": [event["unix_ms"] for event in told if event["id"] == "authority-granted"],
        }
        demoted = [event["unix_ms"] for event in self.lab.at("east", "log")["events"] if event["id"] == "demoted"]
        until = max(demoted, default=0) / 1000 if isolated else 0
        writes = [write for write in self.acknowledged() if write.system == "west" or write.start > until]
        for write in writes:
            before = [other for other in writes if other.system != write.system and other.end < write.start]
            if before:
                last = max(before, key=lambda other: other.start)
                since, by = math.floor(last.start * 1000), math.ceil(write.end * 1000)
                assert any(since <= moment <= by for moment in moved[write.system]), f"{last}, then {write}: {moved}"

