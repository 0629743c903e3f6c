"""Every fault at every step of the workflow: what was acknowledged is there at the end, and nothing else was written.

A case walks the workflow once while a client writes on each system, whether it accepts or not. At its step the fault
strikes, the operator's command is tried while it lasts and repeated with the same request id once it is over, and the
workflow goes on to its end. A destroyed primary is brought back by the rows for a rebuilt one.
"""

import random
import subprocess
import threading
import time

import matrix
import pytest
from lab import Refused, eventually, expect
from ledger import Ledger

# Enough for flows, retries and the waits of the protocol on a busy machine.
PATIENCE = 60


@pytest.mark.parametrize(("step", "fault"), matrix.chosen(), ids=lambda word: word.replace(" ", "-"))
def test_nothing_acknowledged_is_lost(lab, step, fault):
    with Ledger(lab) as ledger:
        eventually(lambda: expect(set(ledger.doomed) <= set(lab.keys("west"))))
        case = Case(lab, ledger, step, fault)
        case.walk()
        case.returns()
        ledger.stop()
        lab.wait_healthy(PATIENCE)
        case.note(ledger.account())
        ledger.one_writer_at_a_time()


class Case:
    def __init__(self, lab, ledger, step, fault):
        self.lab, self.ledger, self.step, self.fault = lab, ledger, step, fault
        self.dice = random.Random(f"{matrix.SEED} {step} {fault}")
        self.began = time.monotonic()
        self.note(f"{fault} at: {step}; lab in {lab.dir}")

    def note(self, text):
        print(f"{time.monotonic() - self.began:6.2f} {text}")

    def walk(self):
        """The workflow, with the fault at its step. A destroyed primary leaves the straight way."""
        try:
            self.write_on("east")
            self.at("steady")
            self.command("fail-over", "link", "fail-over", "acme")
            self.write_on("west")
            self.at("failed over")
            if self.step == "moving":
                self.lab.lab("slow", "--rate", "400KB/s")
                for number in range(8):
                    self.lab.put("west", f"large/{number}", bytes([number]) * (256 << 10))
            self.command("begin", "link", "recovery", "begin", "acme")
            if self.step == "moving":
                eventually(lambda: expect(self.lab.link("west")["sending"]["moved_bytes"] > 256 << 10))
                assert self.lab.link("west")["sending"]["pending_bytes"] > 0, "all has moved already"
            self.at("moving")
            if self.step == "completing":
                self.lab.lab("slow", "--latency", "400ms")
            self.command("complete", "link", "recovery", "complete", "acme", "--anyway")
            if self.step == "completing":
                assert self.lab.link("west")["state"] == "completing"
            self.at("completing")
            self.returns()
            self.at("returned")
        except Destroyed:
            self.recover_a_rebuilt_primary()

    def command(self, name, *words):
        """An operator's command, accepted in the end; the fault before, while or after it runs."""
        words = (*words, "--request-id", f"{name} of the walk")
        if self.step == f"before {name}":
            self.strike()
            self.attempt(words)
            self.mend()
        elif self.step == f"during {name}":
            running = threading.Thread(target=self.attempt, args=(words,))
            running.start()
            time.sleep(self.dice.uniform(0, 0.08))
            self.strike()
            running.join()
            self.mend()
        eventually(lambda: self.try_once(words), PATIENCE)
        self.at(f"after {name}")

    def attempt(self, words):
        """Under the fault it may be refused, or end without an answer."""
        try:
            self.try_once(words)
        except (Refused, subprocess.TimeoutExpired):
            pass

    def try_once(self, words):
        try:
            self.lab.at("west", *words, timeout=30)
        except Refused as refused:
            self.note(f"{words[1:3]}: {str(refused)[:300]}")
            raise
        self.note(f"{words[1:3]} is accepted")

    def at(self, step):
        if self.step == step:
            self.strike()
            self.mend()

    def strike(self):
        known = self.lab.link("east")["sending"]["up_to_date_as_of_unix_ms"] / 1000 if self.destroys else 0
        self.lab.lab(*self.fault.split())
        self.note("struck")
        if self.destroys:
            self.ledger.forget_what_was_lost_with("east", "west", known)

    @property
    def destroys(self):
        return self.fault.startswith("wipe")

    def mend(self):
        """After some life under the fault; in half of the cases long enough for the other side to miss contact."""
        count = len(self.ledger.acknowledged())
        words = self.fault.split()
        watcher = "east" if "west" in words else "west"
        self.patiently(lambda: expect(len(self.ledger.acknowledged()) > count + 5), 1.5)
        if self.dice.random() < 0.5 and not set(words) & set(matrix.KEEP_CONTACT):
            self.patiently(lambda: expect(not self.lab.link(watcher)["contact"]), 4)
        self.lab.lab("heal")
        if self.fault.startswith(("kill", "wipe")):
            self.lab.lab("start", *self.fault.split()[1:])
        self.note("mended")
        if self.destroys:
            self.lab.exchange_certificates()
            raise Destroyed

    @staticmethod
    def patiently(attempt, timeout):
        """Not in every state is there a side that accepts writes, or contact that can be lost both ways."""
        try:
            eventually(attempt, timeout)
        except (AssertionError, Refused):
            pass

    def recover_a_rebuilt_primary(self):
        """By what the replica shows, as the rows of the workflow say, until the primary has its place back."""
        rows = {
            # Lost before the failover, or after the return.
            ("replicating", True): ("link", "fail-over", "acme"),
            ("completing", True): ("link", "fail-over", "acme"),
            ("failed_over", True): ("link", "restore", "acme"),
            ("recovering", True): ("link", "restore", "acme"),
            ("failed_over", False): ("link", "recovery", "begin", "acme"),
            ("recovering", False): ("link", "recovery", "complete", "acme"),
        }

        def act():
            link = self.lab.link("west")
            expect(link["contact"] or link["broken"], str(link["troubles"]))
            if row := rows.get((link["state"], link["broken"])):
                self.try_once(row)
            expect(link["state"] == "replicating" and not link["broken"] and link["epoch"] >= 2, str(link))

        eventually(act, PATIENCE)

    def write_on(self, system):
        """Until the client of `system` has been told of some more writes."""
        count = len(self.ledger.acknowledged(system))
        eventually(lambda: expect(len(self.ledger.acknowledged(system)) > count + 5, f"no write on {system}"), PATIENCE)

    def returns(self):
        eventually(lambda: expect(self.lab.link("west")["state"] == "replicating"), PATIENCE)
        self.write_on("east")
        self.note("the primary has its place back")


class Destroyed(Exception):
    """The primary is empty."""
