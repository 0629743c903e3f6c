"""Keys as hostile as S3 permits, and uploads that are open when the primary fails."""

import hashlib
import os
import subprocess
import unicodedata
from urllib.parse import unquote

import pytest
from botocore.exceptions import ClientError

from lab import SWITCHBACK, eventually, expect
from test_clients import rclone_environment
from test_workflow import refused

HOSTILE = [
    *(".", "..", "./x", "../x", "a/./b", "a/../b", "a/..", "../../../../etc/passwd"),
    *("/", "//", "/leading", "a//b", "trailing/", "trailing//", "trailing"),
    *("%", "%2F", "a%2Fb", "a/b", "%252F", "%zz", "%2e%2e/x", "%00"),
    *("a+b", "a b", " before", "after ", "a%20b", "?", "a?versionId=x", "#", "a#b", "a&b=c;d", "*", "[a]", "{b}", "$HOME"),
    *("'", '"', "<key>&amp;</key>", "]]>", "\\", "a\\b", "~", "@:,!()|^`"),
    *("\x01", "\x08\x0b\x0c\x0e\x1f", "\x7f", "tab\t", "line\nline", "return\rreturn", "both\r\n"),
    *("\u0085", "\u2028", "\u202e", "\ufeff", "\ufffe", "\uffff", "\U0010ffff", "\ufffd"),
    *(unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"), "\u0301", "a/\u0301\u0302", "ﬁ", "fi", "K", "\u212a"),
    *("🦀", "👩‍👩‍👧", "日本語/ファイル", "ß", "SS", "ı", "İ"),
    *("k" * 1024, "é" * 512, "🦀" * 256, "/".join("d" * 512)),
]


def content(key):
    return b"of " + key.encode()


def put(s3, bucket, keys):
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=content(key))


def listed(s3, bucket, **options):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 7}, **options)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def same(s3, bucket, keys):
    """Exactly `keys`, in the order of their bytes, each with its own content."""
    assert listed(s3, bucket) == sorted(keys, key=str.encode)
    encoded = listed(s3, bucket, EncodingType="url")
    assert [unquote(key, errors="strict") for key in encoded] == sorted(keys, key=str.encode)
    assert all(key.isascii() and key.isprintable() for key in encoded)
    for key in keys:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == content(key), repr(key)
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(content(key)), repr(key)


def test_hostile_keys_are_the_same_on_both_sides(lab):
    bucket, clients = "hostile", {system: lab.s3(system) for system in ("east", "west")}
    first, second = HOSTILE[::2], HOSTILE[1::2]
    clients["east"].create_bucket(Bucket=bucket)
    put(clients["east"], bucket, first)
    eventually(lambda: expect(len(lab.keys("west", bucket=bucket)) == len(first)))
    same(clients["west"], bucket, first)
    lab.lab("kill", "east")
    lab.fail_over()
    put(clients["west"], bucket, second)
    same(clients["west"], bucket, HOSTILE)
    for key in first[::2]:
        clients["west"].delete_object(Bucket=bucket, Key=key)
    # What XML cannot say is deleted one by one, in S3 as here.
    many = [key for key in first[1::2] if key.isprintable()]
    gone = {"Objects": [{"Key": key} for key in many]}
    assert "Errors" not in clients["west"].delete_objects(Bucket=bucket, Delete=gone)
    left = [key for key in HOSTILE if key not in first[::2] and key not in many]
    lab.lab("start", "east")
    lab.recover()
    for client in clients.values():
        same(client, bucket, left)
    for key in left:
        source = {"Bucket": bucket, "Key": key}
        clients["east"].copy_object(Bucket=bucket, Key="copied", CopySource=source)
        assert clients["east"].get_object(Bucket=bucket, Key="copied")["Body"].read() == content(key), repr(key)
        clients["east"].delete_object(Bucket=bucket, Key=key)
    assert listed(clients["east"], bucket) == ["copied"]
    for key, code in (("k" * 1025, "KeyTooLongError"), ("é" * 513, "KeyTooLongError")):
        assert refused(lambda: put(clients["east"], bucket, [key]))[1]["Code"] == code


def test_rclone_keeps_names_of_files_that_are_hostile(lab, tmp_path):
    """Every name that a file can have and rclone takes: written on one side, compared byte by byte on the other."""
    folder, environment = tmp_path / "files", rclone_environment(lab, tmp_path)
    names = [key for key in HOSTILE if is_file_name(key)]
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(content(name))

    def rclone(*words):
        # By itself it takes two names that are one after normalization to be the same, and asks for a listing that XML
        # cannot carry many times before it asks for it in another encoding.
        options = ["--no-unicode-normalization", "--s3-list-url-encode=true"]
        command = [SWITCHBACK, "lab", "exec", "--dir", lab.dir, "--", "rclone", *words, *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    rclone("sync", str(folder), f"lab:{lab.bucket}/names")
    eventually(lambda: expect(len(lab.keys("west", "names/")) == len(names)))
    lab.lab("kill", "east")
    lab.fail_over()
    rclone("check", "--download", str(folder), f"lab:{lab.bucket}/names")
    assert set(lab.keys("west", "names/")) == {f"names/{name}" for name in names}
    (folder / "\u0301").unlink()
    rclone("sync", str(folder), f"lab:{lab.bucket}/names")
    lab.lab("start", "east")
    lab.recover()
    rclone("check", "--download", str(folder), f"lab:{lab.bucket}/names")
    names.remove("\u0301")
    assert set(lab.keys("east", "names/")) == {f"names/{name}" for name in names}


def is_file_name(key):
    return "/" not in key and key not in (".", "..") and len(key.encode()) <= 255


PART = 5 << 20


def begin(s3, bucket, key, parts):
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    return upload, [send(s3, bucket, key, upload, number, body) for number, body in enumerate(parts, 1)]


def send(s3, bucket, key, upload, number, body):
    part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)
    return {"PartNumber": number, "ETag": part["ETag"]}


def complete(s3, bucket, key, upload, parts):
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


@pytest.fixture
def hasty(make_lab, monkeypatch):
    """A lab whose uploads expire after seconds."""
    monkeypatch.setenv("SWITCHBACK__DATA_MOVER__MULTIPART_EXPIRY_SECONDS", "3")
    monkeypatch.setenv("SWITCHBACK__DATA_MOVER__SWEEP_INTERVAL_SECONDS", "1")
    lab = make_lab()
    lab.wait_healthy()
    return lab


def test_an_upload_that_is_open_at_the_failover_fails_cleanly_and_expires(hasty):
    """The new side knows nothing of it and says so; nobody ever sees half an object; where it was begun it expires."""
    lab, parts = hasty, [os.urandom(PART), os.urandom(PART), b"the end"]
    east, west = (lab.s3(system) for system in ("east", "west"))
    before = os.urandom(100)
    east.put_object(Bucket=lab.bucket, Key="replaced", Body=before)
    eventually(lambda: expect("replaced" in lab.keys("west")))
    uploads = {key: begin(east, lab.bucket, key, parts[:2]) for key in ("new", "replaced")}
    lab.lab("kill", "east")
    lab.fail_over()
    for key, (upload, sent) in uploads.items():
        tries = [
            lambda: send(west, lab.bucket, key, upload, 3, parts[2]),
            lambda: complete(west, lab.bucket, key, upload, sent),
            lambda: west.list_parts(Bucket=lab.bucket, Key=key, UploadId=upload),
            lambda: west.abort_multipart_upload(Bucket=lab.bucket, Key=key, UploadId=upload),
        ]
        for call in tries:
            meta, error = refused(call)
            assert (meta["HTTPStatusCode"], error["Code"]) == (404, "NoSuchUpload"), error
    assert "new" not in lab.keys("west") and lab.read("west", "replaced") == before
    # What a client does then: all of it again.
    upload, sent = begin(west, lab.bucket, "new", parts)
    complete(west, lab.bucket, "new", upload, sent)
    lab.lab("start", "east")
    # Where it was begun it can neither grow nor become an object as long as the other side writes.
    eventually(lambda: expect(lab.link("east")["epoch"] == 1))
    upload, sent = uploads["replaced"]
    for call in (
        lambda: send(east, lab.bucket, "replaced", upload, 3, parts[2]),
        lambda: complete(east, lab.bucket, "replaced", upload, sent),
    ):
        assert refused(call)[0]["HTTPStatusCode"] in (403, 404)
    lab.recover()
    # What its parts take is free a minute later, which is the store's own test.
    eventually(lambda: expect(not east.list_multipart_uploads(Bucket=lab.bucket).get("Uploads")))
    whole = hashlib.sha256(b"".join(parts)).digest()
    for system in ("east", "west"):
        assert hashlib.sha256(lab.read(system, "new")).digest() == whole
        assert lab.read(system, "replaced") == before


def test_an_upload_that_outlives_failover_and_failback_is_whole_or_not_there(lab):
    """Begun on the primary, and completed there by a client that knows of nothing."""
    parts = [os.urandom(PART), b"the end"]
    east = lab.s3("east")
    upload, sent = begin(east, lab.bucket, "patient", parts[:1])
    lab.fail_over()
    lab.put("west", "patient", b"somebody else's, meanwhile")
    lab.recover()
    try:
        sent.append(send(east, lab.bucket, "patient", upload, 2, parts[1]))
        complete(east, lab.bucket, "patient", upload, sent)
        wanted = b"".join(parts)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchUpload", error
        wanted = b"somebody else's, meanwhile"
    eventually(lambda: expect([lab.read(system, "patient") for system in ("east", "west")] == [wanted] * 2))
