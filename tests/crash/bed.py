"""A lab that lives through many points, and the account of everything that was acknowledged in it."""

import dataclasses
import hashlib
import itertools
import time

import botocore.exceptions
from lab import SWITCHBACK, Lab, Refused, eventually, expect

SYSTEMS = ("east", "west")
ASIDE = ".lost+found/replication/acme/"
# Of everything that has to happen in a step after a crash; a healthy machine takes a hundredth.
PATIENCE = 40


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One request that writes, and whether it was acknowledged."""

    system: str
    key: str
    acknowledged: bool
    start: float
    end: float


class Bed(Lab):
    """The lab, its writes and what they must have come to."""

    program = SWITCHBACK

    def __init__(self, folder, subnet):
        super().__init__(folder, subnet)
        self.number, self.ids = 0, itertools.count(1)
        # What each key may hold: one ETag, or none, or more while an answer is outstanding.
        self.possible, self.aside, self.attempts, self.touched = {}, set(), [], set()
        self.epoch, self.clients = 0, {}
        self.wait_healthy(PATIENCE)

    def fresh(self, word):
        self.number += 1
        return f"{word}/{self.number}"

    def client(self, system):
        if system not in self.clients:
            # The client's own second attempt would make one acknowledgment of a refusal and what followed it.
            once = {"total_max_attempts": 1, "mode": "standard"}
            self.clients[system] = self.s3(system, connect_timeout=2, read_timeout=10, retries=once)
        return self.clients[system]

    def look(self, system, request):
        """One request; refusals of every kind are one kind."""
        try:
            return request(self.client(system))
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise Refused(str(error)) from error

    def ask(self, system, key, request):
        """One attempt to write."""
        start, good = time.time(), False
        try:
            answer = self.look(system, request)
            good = True
            return answer
        finally:
            self.attempts.append(Attempt(system, key, good, start, time.time()))

    def write(self, system, key, value, request):
        """Until it is acknowledged; then `value` is what `key` holds, and nothing else."""

        def once():
            self.possible.setdefault(key, {None}).add(value)
            answer = self.ask(system, key, request)
            self.possible[key] = {value}
            return answer

        self.touched.add(key)
        return eventually(once, PATIENCE)

    def put(self, system, key, body):
        def request(s3):
            return s3.put_object(Bucket=self.bucket, Key=key, Body=body)

        return self.write(system, key, f'"{hashlib.md5(body).hexdigest()}"', request)

    def delete(self, system, key):
        self.write(system, key, None, lambda s3: s3.delete_object(Bucket=self.bucket, Key=key))

    def arrives(self, key, system):
        def arrived():
            held = self.look(system, lambda s3: s3.list_objects_v2(Bucket=self.bucket, Prefix=key))
            found = {entry["Key"]: entry["ETag"] for entry in held.get("Contents", [])}.get(key)
            expect(found in self.possible[key], f"{key} on {system} is {found}")

        eventually(arrived, PATIENCE)

    def operate(self, system, *words):
        """A command with an id, until it is accepted; then once more, which must do nothing."""
        words = (*words, "--request-id", f"crash {next(self.ids)} {time.time_ns()}")
        eventually(lambda: self.at(system, *words, timeout=30), PATIENCE)
        return lambda: self.again(system, words)

    def again(self, system, words):
        def once():
            # "link VERB NAME", "link recovery VERB NAME"
            name = words[3] if words[1] == "recovery" else words[2]
            before, after = self.link(system, name), self.at(system, *words, timeout=30)
            told = any("accepted before" in step for step in after["steps"])
            expect(told and before["epoch"] == after["link"]["epoch"], f"{words} did something again: {after['steps']}")

        eventually(once, PATIENCE)

    def is_state(self, system, state, epoch_odd=None):
        link = self.link(system)
        expect(link["state"] == state, f"{system} is {link['state']}")
        expect(epoch_odd is None or link["epoch"] % 2 == epoch_odd)

    def names_lead_to(self, system):
        address = self.system(system)["address"]
        for server in SYSTEMS:
            name = "acme.east.example.com"
            eventually(lambda s=server: expect(self.answer(name, s) == [address], f"{name} at {s}"), PATIENCE)

    def failed_over(self):
        self.operate("west", "link", "fail-over", "acme")
        eventually(lambda: [self.is_state(system, "failed_over", 1) for system in SYSTEMS], PATIENCE)

    def recovering(self):
        self.operate("west", "link", "recovery", "begin", "acme")
        eventually(lambda: [self.is_state(system, "recovering", 1) for system in SYSTEMS], PATIENCE)

    def returned(self):
        self.operate("west", "link", "recovery", "complete", "acme", "--anyway")
        eventually(lambda: [self.is_state(system, "replicating", 0) for system in SYSTEMS], PATIENCE)
        self.wait_healthy(PATIENCE)

    def trust_each_other(self):
        """As an operator does, who repeats what is refused."""
        eventually(self.exchange_certificates, PATIENCE)

    def check(self):
        """All that was acknowledged, the epochs, the names; the link healthy and RW on one side."""
        self.wait_healthy(PATIENCE)
        links = {system: self.link(system) for system in SYSTEMS}
        epochs = {link["epoch"] for link in links.values()}
        assert len(epochs) == 1 and max(epochs) % 2 == 0 and max(epochs) >= self.epoch, f"epochs {epochs}"
        self.epoch = max(epochs)
        modes = {system: link["mode"] for system, link in links.items()}
        assert modes == {"east": "read_write", "west": "read_only"}, modes
        self.names_lead_to("east")
        serials = {system: self.serial("acme.east.example.com", system) for system in SYSTEMS}
        assert len(set(serials.values())) == 1, f"serials {serials}"
        held = {}
        for system in SYSTEMS:
            held[system] = eventually(lambda s=system: self.listed(s), PATIENCE)
        assert held["east"] == held["west"], sorted(set(held["east"].items()) ^ set(held["west"].items()))[:6]
        now = held["east"]
        lost = {key: values for key, values in self.possible.items() if now.get(key) not in values}
        # A key of two writers holds one of their values; the other is kept aside, and listed.
        kept = {(key, now.get(kept_at)) for key, kept_at in eventually(self.report, PATIENCE)}
        assert not lost, f"lost: {dict(list(lost.items())[:4])}, instead {[now.get(key) for key in list(lost)[:4]]}"
        for key, value in self.aside:
            assert now.get(key) == value or (key, value) in kept, f"{key} {value} is neither current nor listed"
        for key in self.touched:
            for system in SYSTEMS:
                self.reads(system, key, now.get(key))
        self.touched.clear()

    def report(self):
        """What was kept aside, as both systems list it."""
        east, west = (
            {(entry["key"], entry["kept_at"]) for entry in self.at(system, "link", "divergences", "acme")["divergences"]}
            for system in SYSTEMS
        )
        expect(east == west, f"listed by one system only: {sorted(east ^ west)[:4]}")
        return {entry for entry in east if entry[1]}

    def listed(self, system):
        try:
            return self.keys(system) | self.keys(system, ASIDE)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise Refused(str(error)) from error

    def reads(self, system, key, etag):
        """Its bytes are there, and are those of its ETag, but for an upload's in parts."""
        if etag is None:
            return
        body = self.look(system, lambda s3: s3.get_object(Bucket=self.bucket, Key=key))["Body"].read()
        assert "-" in etag or f'"{hashlib.md5(body).hexdigest()}"' == etag, f"{key} on {system} has other bytes"
