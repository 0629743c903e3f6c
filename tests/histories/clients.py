"""Clients that work on both systems all the time, and record what they asked for and what they were told."""

import hashlib
import random
import threading
import time

import botocore.exceptions

from history import DONE, REFUSED, UNKNOWN, Operation

HOT_KEYS = 5
COLD_KEYS = 200
PAUSE = 0.02

# Answers after which nothing was done for certain. A 5xx says nothing: the commit may have been made.
REFUSALS = (400, 403, 404, 409, 412)


class Client(threading.Thread):
    """One client of one system; what it does follows from its seed."""

    def __init__(self, lab, name, system, seed, record):
        super().__init__(name=name, daemon=True)
        self.s3 = {one: lab.s3(one, connect_timeout=2, read_timeout=8) for one in ("east", "west")}
        self.bucket, self.system, self.dice, self.record = lab.bucket, system, random.Random(f"{seed} {name}"), record
        self.stopped, self.number = threading.Event(), 0

    def run(self):
        while not self.stopped.wait(PAUSE):
            self.act(self.choose())

    def choose(self):
        return self.system

    def act(self, system):
        dice = self.dice
        key = f"hot/{dice.randrange(HOT_KEYS)}" if dice.random() < 0.5 else f"cold/{dice.randrange(COLD_KEYS)}"
        what = dice.random()
        if what < 0.40:
            self.get(system, key)
        elif what < 0.65:
            self.put(system, key, "")
        elif what < 0.85:
            known = self.get(system, key)
            if known is not UNKNOWN:
                self.put(system, key, known or "absent")
        elif what < 0.90:
            self.put(system, key, "absent")
        else:
            self.request(system, "delete", key, None, "", lambda s3: s3.delete_object(Bucket=self.bucket, Key=key))

    def put(self, system, key, condition):
        self.number += 1
        body = f"{self.name} {self.number} {key}".encode()
        value = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        only = {"": {}, "absent": {"IfNoneMatch": "*"}}.get(condition, {"IfMatch": condition})
        self.request(
            system, "put", key, value, condition, lambda s3: s3.put_object(Bucket=self.bucket, Key=key, Body=body, **only)
        )

    def get(self, system, key):
        """What is there; UNKNOWN when that could not be had."""
        start = time.monotonic()
        try:
            value = self.s3[system].head_object(Bucket=self.bucket, Key=key)["ETag"]
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                return UNKNOWN
            value = None
        except botocore.exceptions.BotoCoreError:
            return UNKNOWN
        self.record(Operation(self.name, system, "get", key, value, "", DONE, start, time.monotonic()))
        return value

    def request(self, system, kind, key, value, condition, ask):
        start, outcome = time.monotonic(), DONE
        try:
            ask(self.s3[system])
        except botocore.exceptions.ClientError as error:
            refused = error.response["ResponseMetadata"]["HTTPStatusCode"] in REFUSALS
            outcome = REFUSED if refused else UNKNOWN
        except botocore.exceptions.BotoCoreError:
            outcome = UNKNOWN
        self.record(Operation(self.name, system, kind, key, value, condition, outcome, start, time.monotonic()))


class Follower(Client):
    """A client that goes where the tenant's name leads."""

    def __init__(self, lab, name, seed, record):
        super().__init__(lab, name, "west", seed, record)
        self.lab, self.addresses = lab, {lab.system(one)["address"]: one for one in ("east", "west")}
        self.tenant = f"acme.{lab.system('east')['domain']}"

    def choose(self):
        for server in self.dice.sample(["east", "west"], 2):
            for address in self.lab.answer(self.tenant, server):
                if address in self.addresses:
                    return self.addresses[address]
        return self.system
