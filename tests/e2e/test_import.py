"""`switchback import`: from a folder, from another system, from somebody else's S3."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from between import Between
from conftest import SUBNETS
from lab import SWITCHBACK, Lab, eventually, expect
from test_keys import HOSTILE

# One lab serves them all: one process has to run them.
pytestmark = pytest.mark.xdist_group("import")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One lab for all imports, each of which has a bucket of its own."""
    lab = Lab(tmp_path_factory.mktemp("import") / "lab", next(SUBNETS) % 250 + 1)
    lab.wait_healthy()
    yield lab
    lab.close()
    lab.check()


@pytest.fixture
def target(shared, request):
    bucket = request.node.name.replace("_", "-")[:40].strip("-")
    shared.s3("east").create_bucket(Bucket=bucket)
    return bucket


def environment(lab, source=None):
    keys = lab.system("east")["s3"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SWITCHBACK_"))}
    plain |= {"SWITCHBACK_ACCESS_KEY": keys["access_key"], "SWITCHBACK_SECRET_KEY": keys["secret_key"]}
    if source:
        plain |= {"SWITCHBACK_SOURCE_ACCESS_KEY": source[0], "SWITCHBACK_SOURCE_SECRET_KEY": source[1]}
    return plain


def command(lab, folder, source, bucket, *words):
    """The command as an operator types it, on a machine that resolves the tenant's name."""
    where = ["--endpoint", lab.system("east")["s3"]["tenant_url"], "--journal", str(folder / f"{bucket}.import")]
    named = [SWITCHBACK, "--output", "json", "import", str(source), bucket, *where, *map(str, words)]
    return [SWITCHBACK, "lab", "exec", "--dir", lab.dir, "--", *named]


def run(lab, folder, source, bucket, *words, keys=None, fails=False):
    done = subprocess.run(
        command(lab, folder, source, bucket, *words),
        env=environment(lab, keys),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return json.loads(done.stdout), done.stderr


def held(lab, bucket, system="east"):
    return everything(lab.s3(system), bucket)


def hashes(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in files}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def fill(folder, count, large=0):
    content = random.Random(7)
    for number in range(count):
        path = folder / f"folder {number % 7}" / f"file-{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.randbytes(number % 3000))
    if large:
        (folder / "large.bin").write_bytes(content.randbytes(large))


def test_a_folder_comes_in_whole_and_later_what_has_changed(shared, target, tmp_path):
    lab, folder = shared, tmp_path / "files"
    fill(folder, 300, large=(30 << 20) + 1)
    (folder / "page.html").write_text("<p>")
    (folder / "link").symlink_to(folder / "page.html")
    planned, _ = run(lab, tmp_path, folder, target, "--plan")
    assert (planned["due_objects"], planned["objects"]) == (302, 0) and not held(lab, target)
    done, said = run(lab, tmp_path, folder, target, fails=True)
    assert (done["objects"], done["failed"]) == (302, 1), done
    assert done["failures"][0]["key"] == "link" and "symbolic link" in done["failures"][0]["reason"]
    assert "symbolic link" in said
    (folder / "link").unlink()
    assert held(lab, target) == hashes(folder)
    head = lab.s3("east").head_object(Bucket=target, Key="page.html")
    assert head["ContentType"] == "text/html"
    assert float(head["Metadata"]["mtime"]) == pytest.approx((folder / "page.html").stat().st_mtime)
    done, _ = run(lab, tmp_path, folder, target)
    assert (done["unchanged"], done["objects"], done["bytes"]) == (302, 0, 0)
    (folder / "page.html").write_text("<b>")
    (folder / "new").write_text("new")
    (folder / "large.bin").unlink()
    done, _ = run(lab, tmp_path, folder, target)
    assert (done["objects"], done["bytes"], done["deleted"], done["gone"]) == (2, 6, 0, 1)
    assert "large.bin" in held(lab, target), "nothing is deleted that was not asked for"
    done, _ = run(lab, tmp_path, folder, target, "--delete")
    assert (done["objects"], done["deleted"], done["gone"]) == (0, 1, 0)
    assert held(lab, target) == hashes(folder)
    eventually(lambda: expect(held(lab, target, "west") == hashes(folder)), 60)


def test_what_the_tenant_wrote_itself_is_not_undone(shared, target, tmp_path):
    lab, folder, s3 = shared, tmp_path / "files", shared.s3("east")
    fill(folder, 10)
    names = [f"folder {number % 7}/file-{number}.txt" for number in range(10)]
    mine, changed, gone = names[0], names[1], names[2]
    s3.put_object(Bucket=target, Key=mine, Body=b"the tenant's own")
    done, _ = run(lab, tmp_path, folder, target, fails=True)
    assert (done["objects"], [failure["key"] for failure in done["failures"]]) == (9, [mine])
    s3.put_object(Bucket=target, Key=changed, Body=b"changed since")
    s3.delete_object(Bucket=target, Key=gone)
    for name in (changed, gone, names[3]):
        (folder / name).write_text("changed at the source")
    done, _ = run(lab, tmp_path, folder, target, fails=True)
    assert done["objects"] == 1 and {failure["key"] for failure in done["failures"]} == {mine, changed, gone}
    (folder / changed).unlink()
    done, _ = run(lab, tmp_path, folder, target, "--delete", fails=True)
    assert changed in {failure["key"] for failure in done["failures"]}
    kept = held(lab, target)
    assert kept[mine] == sha256(b"the tenant's own")
    assert kept[changed] == sha256(b"changed since") and gone not in kept
    run(lab, tmp_path, folder, target, "--delete", "--overwrite")
    assert held(lab, target) == hashes(folder)


def test_a_source_that_lists_nothing_deletes_nothing(shared, target, tmp_path):
    folder = tmp_path / "files"
    fill(folder, 3)
    run(shared, tmp_path, folder, target)
    folder.rename(tmp_path / "unmounted")
    folder.mkdir()
    done = subprocess.run(
        command(shared, tmp_path, folder, target, "--delete"),
        env=environment(shared),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "lists nothing" in done.stderr
    assert len(held(shared, target)) == 3


FILES = 800


def test_a_killed_import_goes_on_where_it_was(shared, target, tmp_path):
    lab, folder = shared, tmp_path / "files"
    fill(folder, FILES)
    journal = tmp_path / f"{target}.import"
    # One at a time, so that it is killed in the middle.
    words = command(lab, tmp_path, folder, target, "--parallel", "1")
    with subprocess.Popen(words, env=environment(lab), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: expect(journal.exists() and journal.read_bytes().count(b"\n") > 50))
        process.send_signal(signal.SIGKILL)
    # The last lines are lost, and one is torn.
    text = journal.read_bytes()
    journal.write_bytes(text[:-200])
    before = text[:-200].count(b"\n") - 1
    done, _ = run(lab, tmp_path, folder, target)
    assert done["unchanged"] == before and done["objects"] == FILES - before, done
    assert held(lab, target) == hashes(folder)


def put(s3, bucket):
    """Objects with all that belongs to one."""
    for key in HOSTILE:
        s3.put_object(Bucket=bucket, Key=key, Body=b"of " + key.encode())
    s3.put_object(
        Bucket=bucket,
        Key="described",
        Body=b"x" * 1000,
        ContentType="image/svg+xml",
        CacheControl="max-age=60",
        ContentDisposition='attachment; filename="a.svg"',
        ContentEncoding="br",
        ContentLanguage="de",
        Expires=2_000_000_000,
        Metadata={"camera": "a b", "raw": "=?UTF-8?Q?=C3=A9?="},
        Tagging="site=east&note=a%20b%26c",
    )
    parts = [os.urandom(6 << 20), os.urandom(6 << 20), b"the end"]
    made = {"Metadata": {"made": "in parts"}, "Tagging": "a=b"}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", **made)["UploadId"]
    etags = [
        s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=number, Body=body)["ETag"]
        for number, body in enumerate(parts, 1)
    ]
    listed = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": listed})
    s3.put_object(Bucket=bucket, Key="large in one", Body=os.urandom((20 << 20) + 3))


KEPT = ["ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Metadata"]


def described(s3, bucket, key):
    head = s3.head_object(Bucket=bucket, Key=key)
    tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    return {name: head.get(name) for name in (*KEPT, "ExpiresString", "ETag", "ContentLength")}, sorted(map(str, tags))


def everything(s3, bucket):
    """Key to the hash of its content, of all objects."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: sha256(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys}


def test_a_bucket_of_another_system_comes_in_as_it_is(shared, target, tmp_path, make_lab):
    """Every key that there may be, its headers, metadata and tags, and ETags of parts."""
    lab, other = shared, make_lab()
    other.wait_healthy()
    s3, source = other.s3("east"), other.system("east")["s3"]
    put(s3, other.bucket)
    keys = (source["access_key"], source["secret_key"])
    words = ["--source-endpoint", source["url"]]
    done, _ = run(lab, tmp_path, f"s3://{other.bucket}", target, *words, keys=keys)
    assert done["objects"] == len(HOSTILE) + 3, done
    here = lab.s3("east")
    assert everything(here, target) == everything(s3, other.bucket)
    for key in ("described", "parts", HOSTILE[0]):
        assert described(here, target, key) == described(s3, other.bucket, key)
    s3.put_object(Bucket=other.bucket, Key="described", Body=b"y" * 1000)
    s3.delete_object(Bucket=other.bucket, Key="..")
    done, _ = run(lab, tmp_path, f"s3://{other.bucket}", target, "--delete", *words, keys=keys)
    assert (done["objects"], done["bytes"], done["deleted"]) == (1, 1000, 1)
    assert everything(here, target) == everything(s3, other.bucket)


@pytest.fixture
def moto(tmp_path):
    """moto's server: an S3 of other people's making."""
    with open(tmp_path / "moto.log", "w", encoding="utf-8") as log:
        words = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        yield eventually(lambda: expect(address(tmp_path / "moto.log")))
    finally:
        process.terminate()
        process.wait(20)


def address(log):
    for word in log.read_text().split():
        if word.startswith("http://127.0.0.1:"):
            return word
    return None


def test_a_bucket_of_a_foreign_store_comes_in_by_prefix(shared, target, tmp_path, moto):
    lab, keys = shared, ("testing", "testing")
    s3 = boto3.client(
        "s3",
        endpoint_url=moto,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    s3.create_bucket(Bucket="foreign")
    # More than a page of a listing has.
    bodies = {f"in/{number}": b"%d" % number for number in range(1050)} | {"in/large": os.urandom(17 << 20)}
    for key, body in bodies.items():
        s3.put_object(Bucket="foreign", Key=key, Body=body, Metadata={"key": key}, Tagging="a=b")
    s3.put_object(Bucket="foreign", Key="out", Body=b"")
    words = ["--source-endpoint", moto, "--prefix", "from/"]
    done, _ = run(lab, tmp_path, "s3://foreign/in/", target, *words, keys=keys)
    assert (done["objects"], done["bytes"]) == (1051, sum(map(len, bodies.values())))
    here = lab.s3("east")
    etags = lab.keys("east", bucket=target)
    assert set(etags) == {f"from/{key}" for key in bodies}
    large = bodies.pop("in/large")
    assert sha256(here.get_object(Bucket=target, Key="from/in/large")["Body"].read()) == sha256(large)
    for key, body in bodies.items():
        assert etags[f"from/{key}"] == f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    for key in ("in/7", "in/large"):
        head = here.head_object(Bucket=target, Key=f"from/{key}")
        assert head["Metadata"] == {"key": key}
        assert here.get_object_tagging(Bucket=target, Key=f"from/{key}")["TagSet"] == [{"Key": "a", "Value": "b"}]
    s3.put_object(Bucket="foreign", Key="in/7", Body=b"seven")
    done, _ = run(lab, tmp_path, "s3://foreign/in/", target, *words, keys=keys)
    assert (done["objects"], done["unchanged"]) == (1, 1050)


def test_an_object_that_goes_before_it_is_read_is_no_failure(shared, target, tmp_path, make_lab):
    lab, other = shared, make_lab()
    other.wait_healthy()
    s3, at = other.s3("east"), other.system("east")["s3"]
    for key in ("a", "b", "c"):
        s3.put_object(Bucket=other.bucket, Key=key, Body=b"1")
    between = Between(at["url"], other.bucket)
    between.meddling["b", None] = lambda: s3.delete_object(Bucket=other.bucket, Key="b") and None
    # One that is still listed is not gone.
    between.meddling["c", None] = lambda: (404, "NoSuchKey")
    keys, words = (at["access_key"], at["secret_key"]), ["--source-endpoint", between.url]
    done, _ = run(lab, tmp_path, f"s3://{other.bucket}", target, *words, keys=keys, fails=True)
    assert (done["objects"], done["vanished"], done["failed"]) == (1, 1, 1), done
    assert done["failures"][0]["key"] == "c"
    between.close()


def test_an_object_that_is_overwritten_before_it_is_read_comes_as_it_is_then(shared, target, tmp_path, make_lab):
    lab, other = shared, make_lab()
    other.wait_healthy()
    s3, at = other.s3("east"), other.system("east")["s3"]
    large = os.urandom(17 << 20)
    for key, body in (("a", b"1"), ("b", b"1"), ("busy", b"1"), ("large", large)):
        s3.put_object(Bucket=other.bucket, Key=key, Body=body)
    between, writes = Between(at["url"], other.bucket), {"b": [b"two"], "large": [b"", large[::-1]]}

    def overwritten(key):
        # The large one at its second reading, in the middle.
        body = writes[key].pop(0) if writes[key] else b""
        if body:
            s3.put_object(Bucket=other.bucket, Key=key, Body=body)

    between.meddling["b", None] = lambda: overwritten("b")
    between.meddling["large", None] = lambda: overwritten("large")
    between.meddling["busy", None] = lambda: s3.put_object(Bucket=other.bucket, Key="busy", Body=os.urandom(9)) and None
    keys, words = (at["access_key"], at["secret_key"]), ["--source-endpoint", between.url]
    done, _ = run(lab, tmp_path, f"s3://{other.bucket}", target, *words, keys=keys, fails=True)
    assert (done["objects"], done["failed"]) == (3, 1), done
    assert done["failures"][0]["key"] == "busy"
    here = lab.s3("east")
    assert here.get_object(Bucket=target, Key="b")["Body"].read() == b"two"
    assert here.get_object(Bucket=target, Key="large")["Body"].read() == large[::-1]
    # What arrived is known as what it was, and what was written all the time comes once it is not.
    del between.meddling["busy", None]
    done, _ = run(lab, tmp_path, f"s3://{other.bucket}", target, *words, keys=keys)
    assert (done["objects"], done["unchanged"]) == (1, 3), done
    between.close()


def test_what_cannot_begin_says_what_to_do(shared, tmp_path):
    lab, folder = shared, tmp_path / "files"
    fill(folder, 1)

    def refused(*words):
        done = subprocess.run(words, env=environment(lab), capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, done.stdout
        return json.loads(done.stderr)["error"]["message"]

    assert "NoSuchBucket" in refused(*command(lab, tmp_path, folder, "none-such"))
    assert "find folder" in refused(*command(lab, tmp_path, folder / "none", lab.bucket))
    assert "s3://BUCKET" in refused(*command(lab, tmp_path, "s3:///key", lab.bucket))
