"""A system as deploy/compose.yaml makes it, and its operator."""

import json
import subprocess
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from engine import ROOT, SERVICES, run

COMPOSE = ["docker-compose", "--file", ROOT / "deploy/compose.yaml", "--file", ROOT / "tests/containers/compose.yaml"]
# Those of its containers that talk to the other system.
PEER_FACING = ["link-manager", "data-mover"]


def until(what, true, seconds=30):
    """Waits until `true()` is, and returns it; the last error or answer is in the failure."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if last := true():
                return last
        except AssertionError as error:
            last = error
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds} s: {what}; last: {last}")


class System:
    def __init__(self, engine, name, number, tag):
        self.engine = engine
        self.name = name
        self.domain = f"{name}.example.com"
        # The host's address on the system's outer network: what is published, is published there,
        # and the other system's containers reach it through the host.
        self.address = f"10.213.{number}.1"
        self.environment = {
            **engine.environment,
            "COMPOSE_PROJECT_NAME": name,
            "SWITCHBACK_NAME": name,
            "SWITCHBACK_DOMAIN": self.domain,
            "SWITCHBACK_ADDRESS": self.address,
            "SWITCHBACK_BIND": self.address,
            "SWITCHBACK_VERSION": tag,
            "EDGE_SUBNET": f"10.213.{number}.0/24",
            "INTERNAL_SUBNET": f"10.213.{100 + number}.0/24",
        }

    def compose(self, *arguments):
        return run([*COMPOSE, *arguments], env=self.environment)

    def up(self):
        self.compose("run", "--rm", "-T", "init")
        self.compose("up", "--detach", "--no-build")
        # The command line of the operator, kept at hand: starting a container a question is slow.
        self.compose("run", "--detach", "--name", f"{self.name}-cli", "--entrypoint", "/bin/sleep", "cli", "86400")
        until(f"the services of {self.name} are healthy", self.healthy, 60)

    def healthy(self):
        return all(self.health(service) == "healthy" for service in SERVICES)

    def container(self, service):
        return f"{self.name}_{service}_1"

    def health(self, service):
        return self.engine.docker("inspect", "--format", "{{.State.Health.Status}}", self.container(service)).strip()

    def logs(self):
        return "".join(
            f"---- {self.name} {service}\n"
            + subprocess.run(
                ["docker", "logs", "--tail", "40", self.container(service)],
                env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            ).stdout
            for service in SERVICES
        )

    def say(self, *words, **options):
        """The operator's command, its answer as text."""
        return self.engine.docker("exec", "--interactive", f"{self.name}-cli", "switchback", *words, **options)

    def ask(self, *words):
        """The operator's command, its answer as data."""
        return json.loads(self.say("--output", "json", *words))

    def link(self, name):
        return self.ask("link", "show", name)

    def log(self):
        return [event["text"] for event in self.ask("log")["events"]]

    def answers(self, tenant, of, expected):
        """This system's name server leads to `expected` for a tenant of the system `of`."""
        name = f"{tenant}.{of.domain}"
        asked = ["dig", "+noall", "+comments", "+answer", "+time=2", "+tries=2", f"@{self.address}", name, "A"]
        said = run(asked)
        found = [line.split()[4] for line in said.splitlines() if line.startswith(name) and " A" in line.replace("\t", " ")]
        assert found == [expected.address], f"{name} at {self.name}: {said}"
        return True

    def exit_code(self, service):
        return int(self.engine.docker("inspect", "--format", "{{.State.ExitCode}}", self.container(service)))

    @staticmethod
    def read(client, bucket, key):
        try:
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise AssertionError(f"read {key}: {error}") from error

    @staticmethod
    def has(client, bucket, key):
        return bool(client.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents"))

    def kept(self, client, bucket, place):
        """The content of a superseded version; nothing when it was a deletion."""
        return self.read(client, bucket, place) if place else b""

    def cut(self):
        """Takes the containers that talk to the other system off the outer network."""
        for service in PEER_FACING:
            self.engine.docker("network", "disconnect", f"{self.name}_edge", self.container(service))

    def heal(self):
        for service in PEER_FACING:
            self.engine.docker("network", "connect", f"{self.name}_edge", self.container(service))

    def s3(self, credential):
        """A stock client, which retries as clients do."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://{self.address}:9000",
            region_name="us-east-1",
            aws_access_key_id=credential["access_key"],
            aws_secret_access_key=credential["secret_key"],
            config=Config(s3={"addressing_style": "path"}, connect_timeout=3, read_timeout=20),
        )


def write(client, bucket, key, body, acknowledged):
    """Writes an object and remembers it when the write was acknowledged; else returns why not."""
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body)
    except (ClientError, BotoCoreError) as error:
        return error
    acknowledged.setdefault(key, []).append(body)
    return None
