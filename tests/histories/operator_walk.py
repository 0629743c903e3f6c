"""An operator who walks the workflow over and over, and a saboteur: both follow a seed."""

import random
import threading
import time

from history import Event
from lab import Refused, eventually, expect

SERVICES = ["link-manager", "data-mover", "dns-broadcaster", "certificate-service", "gateway"]
PATIENCE = 90


def unix_to_monotonic(unix_ms):
    return unix_ms / 1000 - (time.time() - time.monotonic())


class Watcher(threading.Thread):
    """Records what each system says of the link."""

    def __init__(self, lab, record):
        super().__init__(name="watcher", daemon=True)
        self.lab, self.record, self.stopped = lab, record, threading.Event()

    def run(self):
        while not self.stopped.wait(0.5):
            for system in ("east", "west"):
                start = time.monotonic()
                try:
                    link = self.lab.link(system)
                except (Refused, ValueError, OSError):
                    continue
                about = {"system": system, "epoch": link["epoch"], "mode": link["mode"], "state": link["state"]}
                self.record(Event("seen", start, time.monotonic(), about))


class Saboteur(threading.Thread):
    """Kills services, and starts them again."""

    def __init__(self, lab, seed, record):
        super().__init__(name="saboteur", daemon=True)
        self.lab, self.dice, self.record = lab, random.Random(f"{seed} saboteur"), record
        self.stopped = threading.Event()
        # A system is wiped, or started, by one hand at a time.
        self.hand = threading.Lock()

    def run(self):
        while not self.stopped.wait(self.dice.uniform(1, 5)):
            words = [self.dice.choice(["east", "west"]), self.dice.choice(SERVICES)]
            with self.hand:
                start = time.monotonic()
                try:
                    self.lab.lab("kill", *words)
                    time.sleep(self.dice.uniform(0.1, 1))
                    self.lab.lab("start", *words)
                except Refused:
                    continue
                self.record(Event("kill", start, time.monotonic(), {"system": words[0], "service": words[1]}))


class Walk:
    """The operator. Each round leaves a healthy link."""

    def __init__(self, lab, seed, record, saboteur):
        self.lab, self.dice, self.record, self.saboteur = lab, random.Random(f"{seed} operator"), record, saboteur
        self.rounds = [
            self.planned,
            self.isolated,
            self.primary_dies,
            self.one_way,
            self.primary_is_destroyed,
            self.replica_is_destroyed,
            self.again_in_recovery,
            self.again_in_completion,
        ]

    def round(self):
        walk = self.dice.choice(self.rounds)
        start = time.monotonic()
        walk()
        eventually(lambda: self.lab.wait_healthy(timeout=1), PATIENCE)
        self.record(Event("round", start, time.monotonic(), {"walk": walk.__name__}))

    def pause(self, most=2.0):
        time.sleep(self.dice.uniform(0.1, most))

    def command(self, system, *words):
        """Given until it is answered, under one request id: what was done already is not done again."""
        request = f"{self.dice.randrange(1 << 60):x}"
        eventually(lambda: self.lab.at(system, "link", *words[:-1], "--request-id", request, words[-1]), PATIENCE)

    def fail_over(self):
        self.command("west", "fail-over", "acme")

    def begin(self):
        self.command("west", "recovery", "begin", "acme")

    def complete(self):
        self.command("west", "recovery", "complete", "acme")

    def recover(self):
        self.begin()
        self.pause()
        self.complete()

    def planned(self):
        self.fail_over()
        self.pause()
        self.recover()

    def isolated(self):
        self.lab.lab("cut")
        start = time.monotonic()
        self.pause()
        self.fail_over()
        self.pause(4)
        self.record(Event("apart", start, time.monotonic(), {}))
        self.lab.lab("heal")
        self.recover()

    def one_way(self):
        self.lab.lab("cut", "--one-way", self.dice.choice(["east-west", "west-east"]))
        self.pause()
        self.fail_over()
        self.pause(4)
        self.lab.lab("heal")
        self.recover()

    def primary_dies(self):
        with self.saboteur.hand:
            self.lab.lab("kill", "east")
            self.fail_over()
            self.pause()
            self.lab.lab("start", "east")
        self.recover()

    def primary_is_destroyed(self):
        with self.saboteur.hand:
            known = eventually(lambda: self.lab.link("east")["sending"]["up_to_date_as_of_unix_ms"])
            self.wipe("east", unix_to_monotonic(known))
        self.fail_over()
        self.mend("west")
        self.recover()

    def replica_is_destroyed(self):
        # What it wrote in its time is on the primary: the link was healthy.
        with self.saboteur.hand:
            self.command("east", "suspend", "acme")
            self.wipe("west", time.monotonic())
        self.mend("east")
        self.command("east", "resume", "acme")

    def wipe(self, system, safe_until):
        start = time.monotonic()
        self.lab.lab("wipe", system)
        self.record(Event("wipe", start, time.monotonic(), {"system": system, "safe_until": safe_until}))
        self.lab.lab("start", system)

    def mend(self, survivor):
        eventually(self.lab.exchange_certificates, PATIENCE)
        eventually(lambda: expect(self.lab.link(survivor)["broken"]), PATIENCE)
        self.command(survivor, "restore", "acme")

    def again_in_recovery(self):
        self.fail_over()
        self.begin()
        self.pause()
        self.fail_over()
        self.pause()
        self.recover()

    def again_in_completion(self):
        self.fail_over()
        self.begin()
        # Both are read-only until the line is whole again, or the operator leaves.
        self.lab.lab("cut")
        try:
            self.lab.at("west", "link", "recovery", "complete", "acme", "--anyway")
        except Refused:
            pass
        self.fail_over()
        self.lab.lab("heal")
        self.pause()
        self.recover()
