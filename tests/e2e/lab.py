"""A lab for one test: two systems of their own processes, driven as an operator and a client do.

Everything goes through the `switchback` program and through real S3 clients; nothing is imported
from the product.
"""

import json
import os
import subprocess
import time

import boto3
from botocore.config import Config

SWITCHBACK = os.environ["SWITCHBACK"]


class Refused(Exception):
    """The command was refused; the text is what the operator reads."""


class Lab:
    """One lab. `subnet` keeps labs that run at once apart."""

    def __init__(self, folder, subnet, *options):
        self.dir = str(folder)
        self.run("lab", "up", "--dir", self.dir, "--subnet", str(subnet), "--detach", *options)

    def close(self):
        subprocess.run([SWITCHBACK, "lab", "down", "--dir", self.dir], capture_output=True, timeout=60)

    def check(self):
        """Looks at every row and byte of both stores, once the lab is down."""
        for name in self.described["systems"]:
            config = f"{self.dir}/{name}/switchback.toml"
            words = [SWITCHBACK, "--config", config, "store", "check", "--read"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"

    @property
    def described(self):
        with open(f"{self.dir}/lab.json", encoding="utf-8") as file:
            return json.load(file)

    def system(self, name):
        return self.described["systems"][name]

    @staticmethod
    def run(*words, timeout=90):
        done = subprocess.run([SWITCHBACK, *words], capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise Refused(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def lab(self, verb, *words):
        return self.run("lab", verb, "--dir", self.dir, *words)

    def at(self, system, *words, timeout=90):
        """An operator's command on one system; its answer, parsed."""
        config = f"{self.dir}/{system}/switchback.toml"
        text = self.run("--config", config, "--output", "json", *words, timeout=timeout)
        return json.loads(text) if text.strip() else None

    def link(self, system, name="acme"):
        return self.at(system, "link", "show", name)

    def log(self, system):
        return [event["id"] for event in self.at(system, "log")["events"]]

    def s3(self, system, access_key=None, secret_key=None, **config):
        """A boto3 client; its retries are off unless asked for, so that refusals show."""
        config.setdefault("retries", {"max_attempts": 1, "mode": "standard"})
        config.setdefault("connect_timeout", 3)
        config.setdefault("read_timeout", 20)
        # The lab's credential is made on east, and replicated.
        keys = self.system("east")["s3"]
        return boto3.client(
            "s3",
            endpoint_url=self.system(system)["s3"]["url"],
            region_name=keys["region"],
            aws_access_key_id=access_key or keys["access_key"],
            aws_secret_access_key=secret_key or keys["secret_key"],
            config=Config(**config),
        )

    @property
    def bucket(self):
        return self.system("east")["s3"]["bucket"]

    def keys(self, system, prefix="", bucket=None):
        paginator = self.s3(system).get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=bucket or self.bucket, Prefix=prefix)
        return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}

    def read(self, system, key):
        return self.s3(system).get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def put(self, system, key, body):
        self.s3(system).put_object(Bucket=self.bucket, Key=key, Body=body)

    def relayed(self, way):
        """Bytes that the relay has carried so far, "east-west" or "west-east"."""
        ways = json.loads(self.run("--output", "json", "lab", "status", "--dir", self.dir))["relay"]["answer"]["ways"]
        return next(one["bytes"] for one in ways if one["way"] == way)

    def answer(self, name, server):
        """What one system's name server answers, by dig."""
        address = self.system(server)["dns"].split(":")[0]
        done = subprocess.run(
            ["dig", "+short", "+time=2", "+tries=1", f"@{address}", name, "A"], capture_output=True, text=True, timeout=10
        )
        return done.stdout.split()

    def serial(self, zone, server):
        address = self.system(server)["dns"].split(":")[0]
        done = subprocess.run(
            ["dig", "+short", "+time=2", "+tries=1", f"@{address}", zone, "SOA"], capture_output=True, text=True, timeout=10
        )
        return int(done.stdout.split()[2]) if done.stdout.split() else None

    def fail_over(self, *options):
        return self.at("west", "link", "fail-over", "acme", *options)

    def recover(self):
        """From failed over, with the primary in contact, back to replicating."""
        eventually(lambda: self.at("west", "link", "recovery", "begin", "acme"))
        self.recover_from_recovering()

    def recover_from_recovering(self):
        eventually(lambda: self.at("west", "link", "recovery", "complete", "acme"))
        self.wait_healthy()

    def wait_healthy(self, timeout=40):
        def healthy():
            links = {system: self.link(system) for system in ("east", "west")}
            expect(all(link["healthy"] for link in links.values()), json.dumps(links, indent=1))

        eventually(healthy, timeout)

    def exchange_certificates(self):
        for here, there in (("east", "west"), ("west", "east")):
            path = f"{self.dir}/{here}.pem"
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.run("--config", f"{self.dir}/{here}/switchback.toml", "certificate", "show", "--pem"))
            self.at(there, "certificate", "upload", path)


def expect(truth, what="not yet"):
    assert truth, what
    return truth


def eventually(attempt, timeout=30):
    """The first success of `attempt` within `timeout` seconds; its last failure otherwise."""
    end = time.monotonic() + timeout
    while True:
        try:
            return attempt()
        except (AssertionError, Refused):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
