"""Systems whose blobs are in a bucket: of moto, of another pair of systems, of what stands in for Azure and Google.

The west keeps its blobs there and the east in its folder, so that each flow crosses from one kind to the other. After each
test both stores are checked, every byte of the bucket too (`Lab.check`)."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

from conftest import SUBNETS
from lab import Lab, Refused, eventually, expect

# Bodies of each kind: in the catalogue, in one object of the bucket, and in one of several parts.
SIZES = {"small": 900, "medium": 200_000, "large": (12 << 20) + 17}

# What Azurite and its like are built with: published, and the same everywhere.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Backend:
    """A backend that runs, and how to write it into a configuration."""

    def __init__(self, keys, credentials):
        self.keys, self.credentials = keys, credentials

    def section(self, folder, credentials=None, **changes):
        path = Path(folder) / "blobs.credentials"
        path.write_text(credentials or self.credentials, encoding="utf-8")
        path.chmod(0o600)
        keys = {**self.keys, "credentials_file": str(path), **changes}
        return "\n[blobs]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())


class S3(Backend):
    def __init__(self, endpoint, access_key, secret_key):
        self.s3 = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        self.s3.create_bucket(Bucket="blobs")
        super().__init__(
            {"backend": "s3", "bucket": "blobs", "endpoint": endpoint},
            f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n",
        )

    def names(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="blobs", Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def uploads(self):
        found = self.s3.list_multipart_uploads(Bucket="blobs").get("Uploads", [])
        return [upload["Key"] for upload in found]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def server(tmp_path, port, *words, **environment):
    """A server of our own, once it listens."""
    with open(tmp_path / "server.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(words, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment})

    def listens():
        expect(process.poll() is None, (tmp_path / "server.log").read_text())
        with socket.socket() as client:
            expect(client.connect_ex(("127.0.0.1", port)) == 0)

    eventually(listens)
    return process


def end(process):
    process.terminate()
    process.wait(20)


def program(name):
    """A program beside this Python, or wherever there is one."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


@pytest.fixture
def moto(tmp_path):
    port = free_port()
    process = server(tmp_path, port, program("moto_server"), "-H", "127.0.0.1", "-p", str(port))
    yield S3(f"http://127.0.0.1:{port}", "testing", "testing")
    end(process)


@pytest.fixture
def other_systems():
    """Another pair of systems, which know nothing of what they keep."""
    folder = tempfile.mkdtemp(prefix="switchback-e2e-")
    lab = Lab(f"{folder}/lab", next(SUBNETS) % 250 + 1)
    keys = lab.system("east")["s3"]
    backend = S3(keys["url"], keys["access_key"], keys["secret_key"])
    backend.lab = lab
    yield backend
    lab.close()
    lab.check()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def azurite(tmp_path):
    azurite = program("azurite-blob")
    if azurite is None:
        pytest.skip("Azurite is not installed: npm install --global azurite")
    port = free_port()
    process = server(
        tmp_path, port, azurite, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(tmp_path), "--silent", "--skipApiVersionCheck"
    )
    endpoint = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
    azure_container(endpoint, "blobs")
    yield Backend(
        {"backend": "azure", "bucket": "blobs", "account": AZURE_ACCOUNT, "endpoint": endpoint},
        f"account_key = {AZURE_KEY}\n",
    )
    end(process)


def azure_container(endpoint, name):
    """Makes a container, by a request signed with the shared key (there is no client of Azure's here)."""
    import base64
    import datetime
    import hashlib
    import hmac
    import urllib.request

    date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
    text = "PUT\n" + "\n" * 11 + headers + resource
    signature = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    request = urllib.request.Request(f"{endpoint}/{name}?restype=container", data=b"", method="PUT")
    request.add_header("x-ms-date", date)
    request.add_header("x-ms-version", "2021-08-06")
    request.add_header("Authorization", f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(signature).decode()}")
    # urllib sends one of its own, which would have to be signed as well.
    request.add_header("Content-Type", "")
    urllib.request.urlopen(request, timeout=10).close()


def kept_in(lab, system, backend, **changes):
    """Starts a system of a lab again, with its blobs in the backend."""
    lab.lab("kill", system)
    with open(f"{lab.dir}/{system}/switchback.toml", "r+", encoding="utf-8") as file:
        text = file.read().split("\n[blobs]\n")[0]
        file.seek(0)
        file.truncate()
        file.write(text + backend.section(f"{lab.dir}/{system}", **changes))
    lab.lab("start", system)


def files(lab, system):
    # Beside the blobs the folder has a file that says whose it is.
    return [path for path in Path(f"{lab.dir}/{system}/data/blobs").glob("*/*") if path.is_file()]


def body(name, size):
    return (name.encode() * (size // len(name) + 1))[:size]


def write(lab, system, start):
    """Bodies of each size, and one that its client sends in parts."""
    written = {f"{start}/{name}": body(f"{start}{name}", size) for name, size in SIZES.items()}
    for key, bytes_ in written.items():
        lab.put(system, key, bytes_)
    client, key = lab.s3(system), f"{start}/parts"
    where = {"Bucket": lab.bucket, "Key": key}
    upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
    pieces = [body(f"{start}first", 6 << 20), body(f"{start}last", 77_777)]
    parts = [
        {"PartNumber": number, "ETag": client.upload_part(**upload, PartNumber=number, Body=piece)["ETag"]}
        for number, piece in enumerate(pieces, 1)
    ]
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    return {**written, key: b"".join(pieces)}


def holds(lab, system, written):
    for key, bytes_ in written.items():
        assert lab.read(system, key) == bytes_, f"{key} on {system}"
    part = lab.s3(system).get_object(Bucket=lab.bucket, Key=next(key for key in written if key.endswith("large")), Range="bytes=5242870-5242890")
    assert part["Body"].read() == next(value for key, value in written.items() if key.endswith("large"))[5242870:5242891]


def arrives(lab, system, written):
    def there():
        try:
            holds(lab, system, written)
        except botocore.exceptions.ClientError as error:
            raise AssertionError(str(error)) from error

    eventually(there)


def walk(lab, backend):
    """The workflow, with the west's blobs in the backend."""
    lab.wait_healthy()
    kept_in(lab, "west", backend)
    lab.wait_healthy()
    written = write(lab, "east", "primary")
    arrives(lab, "west", written)
    lab.fail_over()
    written |= write(lab, "west", "replica")
    holds(lab, "west", written)
    # Copies and deletes are of the catalogue; the bytes stay until nothing names them.
    lab.s3("west").copy_object(Bucket=lab.bucket, Key="copied/large", CopySource={"Bucket": lab.bucket, "Key": "replica/large"})
    lab.s3("west").delete_object(Bucket=lab.bucket, Key="replica/large")
    written["copied/large"] = written.pop("replica/large")
    lab.lab("kill", "west")
    lab.lab("start", "west")
    eventually(lambda: holds(lab, "west", written))
    lab.recover()
    for system in ("east", "west"):
        holds(lab, system, written)
    late = write(lab, "east", "again")
    arrives(lab, "west", late)
    assert files(lab, "west") == [] and files(lab, "east") != []
    return written


@pytest.mark.parametrize("name", ["moto", "other_systems", "azurite"])
def test_the_workflow_with_blobs_in_a_bucket(request, name):
    # The backend first, so that it ends last.
    backend = request.getfixturevalue(name)
    lab = request.getfixturevalue("make_lab")()
    walk(lab, backend)


def test_what_a_crash_left_in_a_bucket_is_ended_and_nothing_else(moto, make_lab):
    lab = make_lab()
    kept_in(lab, "west", moto, prefix="systems/west")
    lab.wait_healthy()
    assert moto.names("") == ["systems/west/switchback-system"]
    blob = "ab" * 16
    left, others = f"systems/west/ab/{blob}", f"systems/west-too/ab/{blob}"
    # moto tells of every upload that it began years ago.
    for key in (left, others):
        moto.s3.create_multipart_upload(Bucket="blobs", Key=key)
    moto.s3.put_object(Bucket="blobs", Key=left, Body=b"an orphan")
    moto.s3.put_object(Bucket="blobs", Key=others, Body=b"somebody else's")
    lab.lab("kill", "west", "data-mover")
    lab.lab("start", "west", "data-mover")
    eventually(lambda: expect(moto.uploads() == [others], moto.uploads()))
    eventually(lambda: expect(moto.names("") == [others, "systems/west/switchback-system"], moto.names("")))
    # One that its client gives up is ended at once.
    lab.fail_over()
    client = lab.s3("west", retries={"max_attempts": 1})
    with pytest.raises(botocore.exceptions.ClientError):
        client.put_object(Bucket=lab.bucket, Key="wrong", Body=b"x" * (12 << 20), ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    eventually(lambda: expect(moto.uploads() == [others], moto.uploads()))
    lab.recover()


def test_requests_fail_while_the_backend_is_away_and_recover_by_themselves(other_systems, make_lab):
    lab, store = make_lab(), other_systems.lab
    kept_in(lab, "west", other_systems)
    lab.wait_healthy()
    written = write(lab, "east", "before")
    arrives(lab, "west", written)
    store.lab("kill", "east", "gateway")
    late = write(lab, "east", "meanwhile")
    # Authority and small objects need no bucket.
    lab.fail_over("--no-drain")
    lab.put("west", "inline", b"small")
    assert lab.read("west", "inline") == b"small"
    assert lab.read("west", "before/small") == written["before/small"]
    for call in (lambda: lab.put("west", "refused", body("refused", 200_000)), lambda: lab.read("west", "before/medium")):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503, caught.value
    # Also after a start.
    lab.lab("kill", "west")
    lab.lab("start", "west")
    eventually(lambda: expect(lab.read("west", "inline") == b"small"))
    store.lab("start", "east", "gateway")
    arrives(lab, "west", written)
    lab.put("west", "taken", body("taken", 200_000))
    lab.recover()
    written |= late | {"inline": b"small", "taken": body("taken", 200_000)}
    for system in ("east", "west"):
        holds(lab, system, written)
        assert "refused" not in lab.keys(system)


def test_a_bucket_that_is_not_the_systems_is_refused_with_what_to_do(other_systems, make_lab):
    lab, backend = make_lab(), other_systems
    kept_in(lab, "west", backend, prefix="west")
    lab.wait_healthy()
    written = write(lab, "east", "primary")
    arrives(lab, "west", written)
    before = backend.names("")

    def refused(system, **changes):
        with pytest.raises(Refused):
            kept_in(lab, system, backend, **changes)
        return Path(f"{lab.dir}/{system}/log/data-mover.log").read_text(encoding="utf-8")

    wrong = backend.credentials.splitlines()[1] + "\naws_secret_access_key = wrong\n"
    assert "[blobs] credentials_file" in refused("west", prefix="west", credentials=wrong)
    assert "there is no such bucket" in refused("west", prefix="west", bucket="nowhere")
    backend.s3.create_bucket(Bucket="empty")
    assert "was emptied or is another one" in refused("west", prefix="west", bucket="empty")
    assert "was emptied or is another one" in refused("west", prefix="elsewhere")
    assert "give this system a [blobs] prefix of its own" in refused("east", prefix="west")
    assert backend.names("") == before
    # The secret is in no log, and what was right is right again.
    secret = backend.credentials.split()[-1]
    assert not any(secret in path.read_text(encoding="utf-8") for path in Path(f"{lab.dir}/west/log").iterdir())
    kept_in(lab, "west", backend, prefix="west")
    lab.lab("kill", "east")
    path = Path(f"{lab.dir}/east/switchback.toml")
    path.write_text(path.read_text(encoding="utf-8").split("\n[blobs]\n")[0] + "\n", encoding="utf-8")
    lab.lab("start", "east")
    lab.wait_healthy()
    for system in ("east", "west"):
        holds(lab, system, written)
