#!/usr/bin/env python3
"""Drives an S3 endpoint with stock boto3 and asserts what a client relies on.

    conformance.py --endpoint http://127.0.10.1:9000 --access-key KEY --secret-key SECRET
                   [--few-access-key KEY --few-secret-key SECRET]
                   [--region us-east-1] [--addressing path|virtual] [--keep]

Needs boto3 only. Makes two buckets of its own and removes them. With --addressing virtual the
endpoint is the tenant's name (http://acme.east.example.com:9000); if that name does not resolve
here, --connect HOST connects there instead and sends the name. A second credential (--few-access-key),
which may do no more than read in buckets whose names begin with "conformance-", shows what it is refused.
Prints a line a check and exits non-zero at the first that fails.
"""

import argparse
import base64
import datetime
import hashlib
import http.client
import io
import json
import os
import pathlib
import random
import re
import socket
import sys
import time
import urllib.parse
import zlib

import boto3
from botocore import UNSIGNED
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1024 * 1024
CHECKS = []
CALLED = set()
README = pathlib.Path(__file__).parents[2] / "README.md"


def check(function):
    CHECKS.append(function)
    return function


def refused(code, status, call, *given, **arguments):
    """The call is refused with this code and status; returns the error's response."""
    try:
        call(*given, **arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        found_status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        # Answers to HEAD have no body; botocore then makes the status the code.
        assert found in (code, str(status)), f"expected {code}, got {found}"
        assert found_status == status, f"expected status {status}, got {found_status}"
        return error.response
    raise AssertionError(f"expected {code}, got success")


def body(answer):
    return answer["Body"].read()


class Client:
    def __init__(self, options):
        self.options = options
        self.s3 = self.client()
        self.few = None
        if options.few_access_key:
            keys = {"access_key": options.few_access_key, "secret_key": options.few_secret_key}
            self.few = self.client(keys=keys)
        tag = f"{int(time.time())}-{random.randrange(16**6):06x}"
        self.bucket, self.other = f"conformance-{tag}", f"conformance-{tag}.two"
        if options.plain_names:
            self.other = f"conformance-{tag}-two"
        self.versioned, self.locked = f"conformance-{tag}-versioned", f"conformance-{tag}-locked"

    def client(self, **changes):
        options = self.options
        keys = {"access_key": options.access_key, "secret_key": options.secret_key} | changes.pop("keys", {})
        style = {"addressing_style": options.addressing}
        config = Config(s3=style, retries={"mode": "standard", "max_attempts": 3}, **changes)
        client = boto3.client(
            "s3",
            endpoint_url=options.endpoint,
            region_name=options.region,
            aws_access_key_id=keys["access_key"],
            aws_secret_access_key=keys["secret_key"],
            config=config,
        )
        client.meta.events.register("before-call.s3", lambda model, **_: CALLED.add(model.name))
        return client


@check
def buckets_are_made_found_and_listed(c):
    c.s3.create_bucket(Bucket=c.bucket)
    c.s3.create_bucket(Bucket=c.other)
    c.s3.head_bucket(Bucket=c.bucket)
    answer = c.s3.list_buckets()
    names = [bucket["Name"] for bucket in answer["Buckets"]]
    assert c.bucket in names and c.other in names, names
    assert answer["Owner"]["ID"]
    assert all(
        abs(b["CreationDate"].timestamp() - time.time()) < 600
        for b in answer["Buckets"]
        if b["Name"] == c.bucket
    )
    refused("BucketAlreadyOwnedByYou", 409, c.s3.create_bucket, Bucket=c.bucket)
    refused("NoSuchBucket", 404, c.s3.head_bucket, Bucket="conformance-nobody-made-this")
    refused("NoSuchBucket", 404, c.s3.list_objects_v2, Bucket="conformance-nobody-made-this")
    refused("NoSuchBucket", 404, c.s3.put_object, Bucket="conformance-nobody-made-this", Key="k", Body=b"x")
    # The region us-east-1 is told by its absence.
    region = c.options.region if c.options.region != "us-east-1" else None
    assert c.s3.get_bucket_location(Bucket=c.bucket)["LocationConstraint"] == region
    refused("NoSuchBucket", 404, c.s3.get_bucket_location, Bucket="conformance-nobody-made-this")
    assert "Status" not in c.s3.get_bucket_versioning(Bucket=c.bucket)


@check
def an_object_comes_back_as_it_was_put(c):
    for size in (0, 1, 1000, 32 * 1024, 32 * 1024 + 1, 3 * MIB + 7):
        data = os.urandom(size)
        etag = '"%s"' % hashlib.md5(data).hexdigest()
        put = c.s3.put_object(Bucket=c.bucket, Key=f"size/{size}", Body=data, ContentType="text/x-test")
        assert put["ETag"] == etag, put
        got = c.s3.get_object(Bucket=c.bucket, Key=f"size/{size}")
        assert body(got) == data and got["ETag"] == etag and got["ContentLength"] == size
        assert got["ContentType"] == "text/x-test"
        head = c.s3.head_object(Bucket=c.bucket, Key=f"size/{size}")
        assert head["ContentLength"] == size and head["ETag"] == etag
        assert abs(head["LastModified"].timestamp() - time.time()) < 600
    refused("NoSuchKey", 404, c.s3.get_object, Bucket=c.bucket, Key="nothing")
    refused("NoSuchKey", 404, c.s3.head_object, Bucket=c.bucket, Key="nothing")


@check
def an_overwrite_replaces_bytes_and_metadata(c):
    c.s3.put_object(Bucket=c.bucket, Key="over", Body=b"first", Metadata={"a": "1"}, Tagging="t=1")
    c.s3.put_object(Bucket=c.bucket, Key="over", Body=os.urandom(100_000), Metadata={"b": "2"})
    c.s3.put_object(Bucket=c.bucket, Key="over", Body=b"last", Metadata={"c": "3"})
    got = c.s3.get_object(Bucket=c.bucket, Key="over")
    assert body(got) == b"last" and got["Metadata"] == {"c": "3"}
    assert c.s3.get_object_tagging(Bucket=c.bucket, Key="over")["TagSet"] == []


@check
def keys_of_every_kind_are_kept_apart(c):
    keys = [
        "plain",
        "with space",
        "a+b",
        "a%2Bb",
        "ünï/cödé",
        "q?x=1&y=2",
        "a//b",
        "dot/../up",
        "x" * 1024,
        "trailing/",
        "quote'\"<>&",
        "tilde~;:@,=$!*()",
        "emoji-😀",
        "report#1",
        "back\\slash",
    ]
    for key in keys:
        c.s3.put_object(Bucket=c.other, Key=key, Body=key.encode())
    for key in keys:
        assert body(c.s3.get_object(Bucket=c.other, Key=key)) == key.encode(), key
    listed = [
        o["Key"]
        for page in c.s3.get_paginator("list_objects_v2").paginate(
            Bucket=c.other, PaginationConfig={"PageSize": 4}
        )
        for o in page["Contents"]
    ]
    assert listed == sorted(keys, key=lambda key: key.encode()), listed
    for key in keys:
        c.s3.delete_object(Bucket=c.other, Key=key)
    refused("KeyTooLongError", 400, c.s3.put_object, Bucket=c.other, Key="x" * 1025, Body=b"")


@check
def headers_and_user_metadata_are_kept(c):
    headers = dict(
        ContentType="text/html; charset=utf-8",
        ContentEncoding="gzip",
        ContentLanguage="de",
        ContentDisposition='attachment; filename="a b.html"',
        CacheControl="max-age=60",
    )
    meta = {"plain": "value", "mixed-case": "Value"}
    c.s3.put_object(
        Bucket=c.bucket,
        Key="meta",
        Body=b"<p>",
        Metadata=meta,
        Expires="Thu, 17 Mar 2030 17:46:40 GMT",
        **headers,
    )
    head = c.s3.head_object(Bucket=c.bucket, Key="meta")
    assert head["Metadata"] == meta, head["Metadata"]
    for name, value in headers.items():
        assert head[name] == value, (name, head[name])
    got = c.s3.get_object(
        Bucket=c.bucket, Key="meta", ResponseContentType="x/y", ResponseCacheControl="no-store"
    )
    assert got["ContentType"] == "x/y" and got["CacheControl"] == "no-store"
    refused(
        "MetadataTooLarge",
        400,
        c.s3.put_object,
        Bucket=c.bucket,
        Key="meta",
        Body=b"",
        Metadata={"m": "x" * 3000},
    )


@check
def ranges_are_the_bytes_that_were_asked_for(c):
    data = os.urandom(2 * MIB + 11)
    c.s3.put_object(Bucket=c.bucket, Key="ranged", Body=data)
    for text, part in [
        ("bytes=0-0", data[:1]),
        ("bytes=5-99", data[5:100]),
        ("bytes=-7", data[-7:]),
        (f"bytes={MIB}-", data[MIB:]),
        ("bytes=10-99999999", data[10:]),
    ]:
        got = c.s3.get_object(Bucket=c.bucket, Key="ranged", Range=text)
        assert body(got) == part, text
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206 and got["ContentLength"] == len(part)
        assert got["ContentRange"].endswith(f"/{len(data)}"), got["ContentRange"]
    refused("InvalidRange", 416, c.s3.get_object, Bucket=c.bucket, Key="ranged", Range=f"bytes={len(data)}-")


@check
def conditions_decide_reads(c):
    put = c.s3.put_object(Bucket=c.bucket, Key="cond", Body=b"x")
    etag, other, at = (
        put["ETag"],
        '"%s"' % ("0" * 32),
        c.s3.head_object(Bucket=c.bucket, Key="cond")["LastModified"],
    )
    for call in (c.s3.get_object, c.s3.head_object):
        where = dict(Bucket=c.bucket, Key="cond")
        call(**where, IfMatch=etag)
        call(**where, IfNoneMatch=other)
        call(**where, IfUnmodifiedSince=at)
        refused("PreconditionFailed", 412, call, **where, IfMatch=other)
        refused("NotModified", 304, call, **where, IfNoneMatch=etag)
        refused("NotModified", 304, call, **where, IfModifiedSince=at)


@check
def conditions_decide_writes(c):
    where = dict(Bucket=c.bucket, Key="once")
    first = c.s3.put_object(**where, Body=b"1", IfNoneMatch="*")
    refused("PreconditionFailed", 412, c.s3.put_object, **where, Body=b"2", IfNoneMatch="*")
    refused("PreconditionFailed", 412, c.s3.put_object, **where, Body=b"2", IfMatch='"%s"' % ("0" * 32))
    c.s3.put_object(**where, Body=b"3", IfMatch=first["ETag"])
    assert body(c.s3.get_object(**where)) == b"3"


@check
def checksums_are_compared_stored_and_given_back(c):
    data = os.urandom(70_000)
    sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
    crc32 = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    put = c.s3.put_object(Bucket=c.bucket, Key="sum", Body=data)
    assert put["ChecksumCRC32"] == crc32, "stock settings send a CRC32 in a trailer"
    head = c.s3.head_object(Bucket=c.bucket, Key="sum", ChecksumMode="ENABLED")
    assert head["ChecksumCRC32"] == crc32 and head["ChecksumType"] == "FULL_OBJECT"
    assert "ChecksumCRC32" not in c.s3.head_object(Bucket=c.bucket, Key="sum")
    for algorithm in ("SHA1", "SHA256", "CRC32"):
        c.s3.put_object(Bucket=c.bucket, Key="sum", Body=data, ChecksumAlgorithm=algorithm)
        assert body(c.s3.get_object(Bucket=c.bucket, Key="sum")) == data
    c.s3.put_object(Bucket=c.bucket, Key="sum", Body=data, ChecksumSHA256=sha256)
    wrong = base64.b64encode(b"\0" * 32).decode()
    refused(
        "BadDigest", 400, c.s3.put_object, Bucket=c.bucket, Key="sum", Body=b"other", ChecksumSHA256=wrong
    )
    refused(
        "BadDigest",
        400,
        c.s3.put_object,
        Bucket=c.bucket,
        Key="sum",
        Body=b"other",
        ContentMD5=base64.b64encode(b"\0" * 16).decode(),
    )
    refused(
        "InvalidDigest", 400, c.s3.put_object, Bucket=c.bucket, Key="sum", Body=b"other", ContentMD5="abc"
    )
    assert body(c.s3.get_object(Bucket=c.bucket, Key="sum")) == data, "a refused write changes nothing"
    attributes = c.s3.get_object_attributes(
        Bucket=c.bucket, Key="sum", ObjectAttributes=["ObjectSize", "Checksum", "ETag"]
    )
    assert attributes["ObjectSize"] == len(data) and attributes["Checksum"]["ChecksumSHA256"] == sha256


@check
def an_unseekable_stream_is_taken(c):
    class Pipe(io.RawIOBase):
        def __init__(self, data):
            self.inner = io.BytesIO(data)

        def readable(self):
            return True

        def read(self, size=-1):
            return self.inner.read(size)

    data = os.urandom(9 * MIB)
    c.s3.upload_fileobj(
        Pipe(data),
        c.bucket,
        "piped",
        Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB),
    )
    assert body(c.s3.get_object(Bucket=c.bucket, Key="piped")) == data


@check
def copies_are_objects_of_their_own(c):
    data = os.urandom(200_000)
    c.s3.put_object(
        Bucket=c.bucket, Key="from", Body=data, ContentType="a/b", Metadata={"m": "1"}, Tagging="t=1"
    )
    source = {"Bucket": c.bucket, "Key": "from"}
    answer = c.s3.copy_object(Bucket=c.other, Key="to ü", CopySource=source)
    assert answer["CopyObjectResult"]["ETag"] == '"%s"' % hashlib.md5(data).hexdigest()
    c.s3.delete_object(Bucket=c.bucket, Key="from")
    got = c.s3.get_object(Bucket=c.other, Key="to ü")
    assert body(got) == data and got["Metadata"] == {"m": "1"} and got["ContentType"] == "a/b"
    assert c.s3.get_object_tagging(Bucket=c.other, Key="to ü")["TagSet"] == [{"Key": "t", "Value": "1"}]
    source = {"Bucket": c.other, "Key": "to ü"}
    c.s3.copy_object(
        Bucket=c.bucket,
        Key="back",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"n": "2"},
        ContentType="c/d",
        TaggingDirective="REPLACE",
        Tagging="u=2",
    )
    head = c.s3.head_object(Bucket=c.bucket, Key="back")
    assert head["Metadata"] == {"n": "2"} and head["ContentType"] == "c/d"
    assert c.s3.get_object_tagging(Bucket=c.bucket, Key="back")["TagSet"] == [{"Key": "u", "Value": "2"}]
    refused("InvalidRequest", 400, c.s3.copy_object, Bucket=c.other, Key="to ü", CopySource=source)
    c.s3.copy_object(
        Bucket=c.other, Key="to ü", CopySource=source, MetadataDirective="REPLACE", Metadata={"self": "yes"}
    )
    got = c.s3.get_object(Bucket=c.other, Key="to ü")
    assert body(got) == data and got["Metadata"] == {"self": "yes"}
    refused(
        "NoSuchKey",
        404,
        c.s3.copy_object,
        Bucket=c.bucket,
        Key="x",
        CopySource={"Bucket": c.bucket, "Key": "nothing"},
    )
    refused(
        "PreconditionFailed",
        412,
        c.s3.copy_object,
        Bucket=c.bucket,
        Key="x",
        CopySource=source,
        CopySourceIfMatch='"%s"' % ("0" * 32),
    )
    c.s3.delete_object(Bucket=c.other, Key="to ü")


@check
def listings_group_page_and_go_on(c):
    keys = [f"list/{folder}/{n:03}" for folder in ("a", "b", "c d") for n in range(7)] + [
        "list/top",
        "list/zz",
    ]
    for key in keys:
        c.s3.put_object(Bucket=c.other, Key=key, Body=key.encode())
    for version, size in (("list_objects_v2", 3), ("list_objects", 3), ("list_objects_v2", 1000)):
        pages = c.s3.get_paginator(version).paginate
        found = [
            o["Key"]
            for page in pages(Bucket=c.other, Prefix="list/", PaginationConfig={"PageSize": size})
            for o in page.get("Contents", [])
        ]
        assert found == sorted(keys), (version, size, found)
        objects, prefixes = [], []
        for page in pages(Bucket=c.other, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 2}):
            objects += [o["Key"] for o in page.get("Contents", [])]
            prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        assert objects == ["list/top", "list/zz"], (version, objects)
        assert prefixes == ["list/a/", "list/b/", "list/c d/"], (version, prefixes)
    page = c.s3.list_objects_v2(
        Bucket=c.other, Prefix="list/", StartAfter="list/b/003", MaxKeys=2, FetchOwner=True
    )
    assert [o["Key"] for o in page["Contents"]] == ["list/b/004", "list/b/005"] and page["IsTruncated"]
    assert page["KeyCount"] == 2 and page["Contents"][0]["Owner"]["ID"]
    entry = page["Contents"][0]
    assert (
        entry["Size"] == len("list/b/004")
        and entry["ETag"] == '"%s"' % hashlib.md5(b"list/b/004").hexdigest()
    )
    assert c.s3.list_objects_v2(Bucket=c.other, MaxKeys=0)["KeyCount"] == 0
    assert c.s3.list_objects_v2(Bucket=c.other, Prefix="none/")["KeyCount"] == 0
    refused("InvalidArgument", 400, c.s3.list_objects_v2, Bucket=c.other, ContinuationToken="?!")


@check
def deletes_are_final_and_deleting_nothing_succeeds(c):
    refused("BucketNotEmpty", 409, c.s3.delete_bucket, Bucket=c.other)
    listed = [
        o["Key"]
        for page in c.s3.get_paginator("list_objects_v2").paginate(Bucket=c.other)
        for o in page.get("Contents", [])
    ]
    answer = c.s3.delete_objects(
        Bucket=c.other, Delete={"Objects": [{"Key": key} for key in listed + ["nothing"]]}
    )
    assert len(answer["Deleted"]) == len(listed) + 1 and "Errors" not in answer, answer
    assert c.s3.list_objects_v2(Bucket=c.other)["KeyCount"] == 0
    c.s3.put_object(Bucket=c.other, Key="q", Body=b"")
    assert "Deleted" not in c.s3.delete_objects(
        Bucket=c.other, Delete={"Objects": [{"Key": "q"}], "Quiet": True}
    )
    c.s3.delete_object(Bucket=c.other, Key="q")
    refused("NoSuchKey", 404, c.s3.get_object, Bucket=c.other, Key="q")


@check
def tags_are_set_replaced_and_removed(c):
    where = dict(Bucket=c.bucket, Key="tagged")
    c.s3.put_object(**where, Body=b"x", Tagging="a=1&b=two%20words")
    pairs = lambda: {t["Key"]: t["Value"] for t in c.s3.get_object_tagging(**where)["TagSet"]}
    headers = lambda answer: answer["ResponseMetadata"]["HTTPHeaders"]
    answers = lambda: [read(**where) for read in (c.s3.get_object, c.s3.head_object)]
    tag_counts = lambda: [headers(answer).get("x-amz-tagging-count") for answer in answers()]
    assert pairs() == {"a": "1", "b": "two words"}
    assert tag_counts() == ["2", "2"]
    c.s3.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "c", "Value": "ü"}]})
    assert pairs() == {"c": "ü"} and body(c.s3.get_object(**where)) == b"x"
    c.s3.delete_object_tagging(**where)
    assert pairs() == {} and tag_counts() == [None, None]
    refused(
        "InvalidTag",
        400,
        c.s3.put_object_tagging,
        **where,
        Tagging={"TagSet": [{"Key": f"k{n}", "Value": ""} for n in range(11)]},
    )
    refused("NoSuchKey", 404, c.s3.get_object_tagging, Bucket=c.bucket, Key="nothing")


@check
def a_multipart_upload_is_one_object(c):
    where = dict(Bucket=c.bucket, Key="multi/ü")
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB), os.urandom(12345)]
    made = c.s3.create_multipart_upload(
        **where, Metadata={"m": "1"}, ContentType="m/p", Tagging="t=1", ChecksumAlgorithm="CRC32"
    )
    upload = dict(**where, UploadId=made["UploadId"])
    numbers = [1, 3, 7]
    etags = [c.s3.upload_part(**upload, PartNumber=n, Body=part) for n, part in zip(numbers, parts)]
    listed = c.s3.list_parts(**upload)
    assert [(p["PartNumber"], p["Size"]) for p in listed["Parts"]] == list(zip(numbers, map(len, parts)))
    first = c.s3.list_parts(**upload, MaxParts=2)
    assert first["IsTruncated"] and first["NextPartNumberMarker"] == 3
    rest = c.s3.list_parts(**upload, PartNumberMarker=3)
    assert [p["PartNumber"] for p in rest["Parts"]] == [7] and not rest["IsTruncated"]
    found = c.s3.list_multipart_uploads(Bucket=c.bucket, Prefix="multi/")["Uploads"]
    assert [(u["Key"], u["UploadId"]) for u in found] == [(where["Key"], made["UploadId"])]
    refused("NoSuchKey", 404, c.s3.head_object, **where)
    named = [
        {"PartNumber": n, "ETag": e["ETag"], "ChecksumCRC32": e["ChecksumCRC32"]}
        for n, e in zip(numbers, etags)
    ]
    refused(
        "InvalidPartOrder",
        400,
        c.s3.complete_multipart_upload,
        **upload,
        MultipartUpload={"Parts": named[::-1]},
    )
    bad = [dict(named[0], ETag='"%s"' % ("0" * 32))] + named[1:]
    refused("InvalidPart", 400, c.s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": bad})
    done = c.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": named})
    etag = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert done["ETag"] == f'"{etag}-3"', done
    again = c.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": named})
    assert again["ETag"] == done["ETag"], "a repeat after a lost answer succeeds"
    crcs = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
    composite = base64.b64encode(zlib.crc32(crcs).to_bytes(4, "big")).decode() + "-3"
    assert done["ChecksumCRC32"] == composite, done
    got = c.s3.get_object(**where)
    assert body(got) == b"".join(parts) and got["ETag"] == done["ETag"]
    assert got["Metadata"] == {"m": "1"} and got["ContentType"] == "m/p"
    part = c.s3.get_object(**where, PartNumber=3)
    assert body(part) == parts[2] and part["PartsCount"] == 3
    assert (
        body(c.s3.get_object(**where, Range=f"bytes={5 * MIB - 3}-{5 * MIB + 3}"))
        == parts[0][-3:] + parts[1][:4]
    )
    refused("NoSuchUpload", 404, c.s3.list_parts, **upload)


@check
def the_checksum_of_a_multipart_upload_is_of_the_type_it_was_begun_with(c):
    where = dict(Bucket=c.bucket, Key="full")
    parts = [os.urandom(5 * MIB), os.urandom(100)]
    crc = lambda data: zlib.crc32(data).to_bytes(4, "big")
    whole = base64.b64encode(crc(b"".join(parts))).decode()
    composite = base64.b64encode(crc(b"".join(map(crc, parts)))).decode() + "-2"
    full = {"ChecksumType": "FULL_OBJECT"}
    # Asked for or by S3's default; told again at the end, or not, as stock clients do.
    for asked, told, kind, value in (
        (full, {}, "FULL_OBJECT", whole),
        (full, full | {"ChecksumCRC32": whole}, "FULL_OBJECT", whole),
        ({"ChecksumType": "COMPOSITE"}, {}, "COMPOSITE", composite),
        ({}, {"ChecksumType": "COMPOSITE", "ChecksumCRC32": composite}, "COMPOSITE", composite),
    ):
        made = c.s3.create_multipart_upload(**where, ChecksumAlgorithm="CRC32", **asked)
        assert (made["ChecksumAlgorithm"], made["ChecksumType"]) == ("CRC32", kind), made
        upload = dict(**where, UploadId=made["UploadId"])
        named = []
        for n, part in enumerate(parts, 1):
            answer = c.s3.upload_part(**upload, PartNumber=n, Body=part, ChecksumAlgorithm="CRC32")
            named.append({"PartNumber": n, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})
        listed = c.s3.list_parts(**upload)
        assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ("CRC32", kind), listed
        found = c.s3.list_multipart_uploads(Bucket=c.bucket, Prefix="full")["Uploads"][0]
        assert (found["ChecksumAlgorithm"], found["ChecksumType"]) == ("CRC32", kind), found
        end = dict(**upload, MultipartUpload={"Parts": named})
        other = "COMPOSITE" if kind == "FULL_OBJECT" else "FULL_OBJECT"
        refused("InvalidRequest", 400, c.s3.complete_multipart_upload, **end, ChecksumType=other)
        wrong = told | {"ChecksumCRC32": "AAAAAA=="}
        refused("BadDigest", 400, c.s3.complete_multipart_upload, **end, **wrong)
        done = c.s3.complete_multipart_upload(**end, **told)
        assert (done["ChecksumCRC32"], done["ChecksumType"]) == (value, kind), done
        for call in (c.s3.head_object, c.s3.get_object):
            answer = call(**where, ChecksumMode="ENABLED")
            assert (answer["ChecksumCRC32"], answer["ChecksumType"]) == (value, kind), answer
        assert "ChecksumType" not in c.s3.head_object(**where)
        assert body(c.s3.get_object(**where)) == b"".join(parts)
        attributes = c.s3.get_object_attributes(**where, ObjectAttributes=["Checksum"])["Checksum"]
        assert (attributes["ChecksumCRC32"], attributes["ChecksumType"]) == (value, kind), attributes
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        asked = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}
        refused("InvalidRequest", 400, c.s3.create_multipart_upload, **where, **asked)


@check
def uploads_and_parts_are_listed_in_pages(c):
    keys = ["paged/a", "paged/a", "paged/b/1", "paged/b/2", "paged/b/2", "paged/c ü+&", "paged/d/1", "paged/e"]
    ids = sorted((key, c.s3.create_multipart_upload(Bucket=c.bucket, Key=key)["UploadId"]) for key in keys)
    uploads = lambda size, **more: list(
        c.s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=c.bucket, Prefix="paged/", PaginationConfig={"PageSize": size}, **more
        )
    )
    for size in (1, 2, 3, 8, 1000):
        pages = uploads(size)
        found = [(u["Key"], u["UploadId"]) for page in pages for u in page.get("Uploads", [])]
        assert found == ids and len(pages) == -(-len(ids) // size), (size, found)
        pages = uploads(size, Delimiter="/")
        found = [(u["Key"], u["UploadId"]) for page in pages for u in page.get("Uploads", [])]
        assert found == [(key, i) for key, i in ids if key.count("/") == 1], (size, found)
        groups = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
        assert groups == ["paged/b/", "paged/d/"] and len(pages) == -(-6 // size), (size, groups)
    rest = c.s3.list_multipart_uploads(Bucket=c.bucket, Prefix="paged/", KeyMarker="paged/b/2")
    assert [u["Key"] for u in rest["Uploads"]] == keys[5:], "a key alone: behind all its uploads"
    none = c.s3.list_multipart_uploads(Bucket=c.bucket, MaxUploads=0)
    assert not none["IsTruncated"] and "Uploads" not in none, none
    where = dict(Bucket=c.bucket, KeyMarker="paged/a", UploadIdMarker="not one")
    refused("InvalidArgument", 400, c.s3.list_multipart_uploads, **where)
    refused("NoSuchBucket", 404, c.s3.list_multipart_uploads, Bucket="conformance-nobody-made-this")

    key, upload = ids[-1]
    upload = dict(Bucket=c.bucket, Key=key, UploadId=upload)
    named = []
    for number in (1, 2, 3, 5, 8):
        tag = c.s3.upload_part(**upload, PartNumber=number, Body=b"x" * 5 * MIB)["ETag"]
        named.append({"PartNumber": number, "ETag": tag})
    for size in (1, 2, 5, 1000):
        pages = list(c.s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": size}))
        found = [{name: part[name] for name in named[0]} for page in pages for part in page["Parts"]]
        assert found == named and len(pages) == -(-len(named) // size), (size, found)
    none = c.s3.list_parts(**upload, MaxParts=0)
    assert not none["IsTruncated"] and "Parts" not in none, none
    refused("NoSuchUpload", 404, c.s3.list_parts, **upload | {"UploadId": "0" * 32})

    c.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": named})
    asked = dict(Bucket=c.bucket, Key=key, ObjectAttributes=["ObjectParts", "ObjectSize"])
    found, more = [], {}
    while True:
        answer = c.s3.get_object_attributes(**asked, MaxParts=2, **more)
        page = answer["ObjectParts"]
        assert page["TotalPartsCount"] == 5 and answer["ObjectSize"] == 25 * MIB, answer
        found += [(part["PartNumber"], part["Size"]) for part in page["Parts"]]
        if not page["IsTruncated"]:
            break
        more = {"PartNumberMarker": page["NextPartNumberMarker"]}
    assert found == [(number, 5 * MIB) for number in range(1, 6)], found
    plain = c.s3.get_object_attributes(**asked | {"Key": "size/1"})
    assert "ObjectParts" not in plain and "ETag" not in plain and plain["ObjectSize"] == 1
    refused("NoSuchKey", 404, c.s3.get_object_attributes, **asked | {"Key": "nothing"})
    for key, upload in ids[:-1]:
        c.s3.abort_multipart_upload(Bucket=c.bucket, Key=key, UploadId=upload)


@check
def parts_are_copied_and_uploads_aborted(c):
    data = os.urandom(6 * MIB)
    c.s3.put_object(Bucket=c.bucket, Key="source", Body=data)
    where = dict(Bucket=c.bucket, Key="pieced")
    upload = dict(**where, UploadId=c.s3.create_multipart_upload(**where)["UploadId"])
    source = {"Bucket": c.bucket, "Key": "source"}
    one = c.s3.upload_part_copy(
        **upload, PartNumber=1, CopySource=source, CopySourceRange=f"bytes=0-{5 * MIB - 1}"
    )
    two = c.s3.upload_part(**upload, PartNumber=2, Body=b"tail")
    refused(
        "InvalidRange",
        416,
        c.s3.upload_part_copy,
        **upload,
        PartNumber=3,
        CopySource=source,
        CopySourceRange="bytes=0-99999999",
    )
    named = [{"PartNumber": 1, "ETag": one["CopyPartResult"]["ETag"]}, {"PartNumber": 2, "ETag": two["ETag"]}]
    c.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": named})
    assert body(c.s3.get_object(**where)) == data[: 5 * MIB] + b"tail"
    gone = dict(**where, UploadId=c.s3.create_multipart_upload(**where)["UploadId"])
    c.s3.upload_part(**gone, PartNumber=1, Body=b"x" * 100_000)
    c.s3.abort_multipart_upload(**gone)
    refused("NoSuchUpload", 404, c.s3.upload_part, **gone, PartNumber=2, Body=b"x")
    assert "Uploads" not in c.s3.list_multipart_uploads(Bucket=c.bucket)


@check
def the_transfer_manager_works_with_its_defaults(c):
    data = os.urandom(25 * MIB)
    c.s3.upload_fileobj(io.BytesIO(data), c.bucket, "managed", ExtraArgs={"Metadata": {"by": "manager"}})
    target = io.BytesIO()
    c.s3.download_fileobj(c.bucket, "managed", target)
    assert target.getvalue() == data
    c.s3.copy({"Bucket": c.bucket, "Key": "managed"}, c.bucket, "managed-copy")
    assert c.s3.head_object(Bucket=c.bucket, Key="managed-copy")["ContentLength"] == len(data)


def fetch(url, method="GET", data=None, headers={}):
    """One plain request, with no headers but those given: a URL's signature covers some."""
    answer, data = request(url, method, data, headers)
    return answer.status, data


def request(url, method="GET", data=None, headers={}):
    """The same, with the headers of the answer."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request(method, f"{parts.path or '/'}?{parts.query}", body=data, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


@check
def presigned_urls_work_until_they_expire(c):
    # Stock settings: for regions such as us-east-1 boto3 then presigns with version 2.
    for client in (c.s3, c.client(signature_version="s3v4")):
        where = {"Bucket": c.bucket, "Key": "signed ü+%/~"}
        sign = lambda operation, seconds=60, **more: client.generate_presigned_url(
            operation, Params=where | more, ExpiresIn=seconds
        )
        status, text = fetch(sign("put_object"), "PUT", b"by url")
        assert status == 200, text
        assert fetch(sign("get_object")) == (200, b"by url")
        assert fetch(sign("head_object"), "HEAD")[0] == 200
        changed = sign("get_object").replace("Expires=", "Expires=9")
        status, text = fetch(changed)
        assert status == 403 and b"SignatureDoesNotMatch" in text, text
        assert fetch(sign("get_object").replace("signed", "other"))[0] == 403
        assert fetch(sign("get_object"), "PUT", b"not this")[0] == 403
        url = sign("get_object", 1)
        time.sleep(2.1)
        status, text = fetch(url)
        assert status == 403 and b"AccessDenied" in text and b"Request has expired" in text, text
        sent = {"Content-Type": "text/x-url", "x-amz-meta-by": "url"}
        url = sign("put_object", ContentType="text/x-url", Metadata={"by": "url"})
        status, text = fetch(url, "PUT", b"with headers", sent)
        assert status == 200, text
        head = c.s3.head_object(**where)
        assert head["ContentType"] == "text/x-url" and head["Metadata"] == {"by": "url"}, head
        assert fetch(url, "PUT", b"x", sent | {"Content-Type": "text/html"})[0] == 403
        answer = fetch(sign("get_object", ResponseContentType="x/y", ResponseCacheControl="no-store"))
        assert answer == (200, b"with headers"), answer
        assert fetch(sign("delete_object"), "DELETE")[0] == 204
        refused("NoSuchKey", 404, c.s3.head_object, **where)
    if "AWSAccessKeyId" in c.s3.generate_presigned_url("get_object", Params=where):
        # Its maker's headers are in the URL: whoever uses it need not know them.
        url = c.s3.generate_presigned_url("put_object", Params=where | {"ContentType": "a/b", "Tagging": "t=1"})
        status, text = fetch(url, "PUT", b"x")
        assert status == 200, text
        assert c.s3.head_object(**where)["ContentType"] == "a/b"
        assert c.s3.get_object_tagging(**where)["TagSet"] == [{"Key": "t", "Value": "1"}]
    old = c.client(signature_version="s3")
    refused("InvalidRequest", 400, old.list_objects_v2, Bucket=c.bucket)


def form(fields, data):
    """A body as a browser makes it of a form with a file, and its header."""
    boundary = f"----form{random.randrange(16**16):016x}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        f"Content-Type: text/plain\r\n\r\n".encode()
        + data
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


@check
def presigned_forms_work_within_their_policy(c):
    for client in (c.s3, c.client(signature_version="s3v4")):

        def post(data, changes={}, seconds=60, key="form/ü", conditions=[], fields={}, wait=0):
            conditions = [{name: value} for name, value in fields.items()] + conditions
            made = client.generate_presigned_post(
                c.bucket, key, Fields=dict(fields), Conditions=conditions, ExpiresIn=seconds
            )
            time.sleep(wait)
            text, headers = form(made["fields"] | changes, data)
            return fetch(made["url"], "POST", text, headers)

        # Ends of the file in all places: what is no end looks like one again and again.
        for data in (b"", b"by form", os.urandom(3 * MIB), b"\r" * 300_000, b"\r\n--" * 20_001):
            status, text = post(data)
            assert status == 204, (status, text)
            assert body(c.s3.get_object(Bucket=c.bucket, Key="form/ü")) == data
        md5 = base64.b64encode(hashlib.md5(b"kept").digest()).decode()
        fields = {"Content-Type": "text/x-form", "x-amz-meta-by": "form", "Content-MD5": md5}
        status, text = post(b"kept", fields=fields | {"success_action_status": "201"})
        assert status == 201 and b"<Key>form/" in text, (status, text)
        head = c.s3.head_object(Bucket=c.bucket, Key="form/ü")
        assert head["ContentType"] == "text/x-form" and head["Metadata"] == {"by": "form"}, head
        status, text = post(b"other bytes", fields=fields)
        assert status == 400 and b"BadDigest" in text, (status, text)
        made = client.generate_presigned_post(c.bucket, "form")["fields"]
        changed = {name: "AAAA" for name in made if name.endswith("signature")}
        for code, refusal in (
            (b"InvalidPolicyDocument", post(b"x", {"key": "elsewhere"})),
            (b"AccessDenied", post(b"x", {"x-amz-meta-more": "1"})),
            (b"SignatureDoesNotMatch", post(b"x", changed)),
            (b"EntityTooLarge", post(b"12345", conditions=[["content-length-range", 1, 4]])),
            (b"EntityTooSmall", post(b"", conditions=[["content-length-range", 1, 4]])),
            (b"AccessDenied", post(b"x", seconds=1, wait=2.1)),
            (b"NotImplemented", post(b"x", key="form/${filename}")),
            (b"AccessDenied", post(b"x", key=".lost+found/replication/x")),
        ):
            assert refusal[0] >= 400 and b"<Code>%s</Code>" % code in refusal[1], (code, refusal)
    made = c.s3.generate_presigned_post(c.bucket, "form/unsigned")
    text, headers = form({"key": "form/unsigned"}, b"x")
    status, text = fetch(made["url"], "POST", text, headers)
    assert status == 403 and b"AccessDenied" in text, (status, text)


@check
def buckets_have_tags_of_their_own(c):
    refused("NoSuchTagSet", 404, c.s3.get_bucket_tagging, Bucket=c.bucket)
    tags = [{"Key": f"name {number:02}", "Value": "ü&<>"} for number in range(50)]
    c.s3.put_bucket_tagging(Bucket=c.bucket, Tagging={"TagSet": tags})
    assert c.s3.get_bucket_tagging(Bucket=c.bucket)["TagSet"] == tags
    more = tags + [{"Key": "one", "Value": "more"}]
    refused("InvalidTag", 400, c.s3.put_bucket_tagging, Bucket=c.bucket, Tagging={"TagSet": more})
    assert c.s3.get_bucket_tagging(Bucket=c.bucket)["TagSet"] == tags
    c.s3.delete_bucket_tagging(Bucket=c.bucket)
    refused("NoSuchTagSet", 404, c.s3.get_bucket_tagging, Bucket=c.bucket)


@check
def everything_is_its_tenants_alone(c):
    """Who may what is told, and set as it is; nothing else can be."""
    c.s3.put_object(Bucket=c.bucket, Key="private", Body=b"")
    for kind, where in [("bucket", {"Bucket": c.bucket}), ("object", {"Bucket": c.bucket, "Key": "private"})]:
        get, put = (getattr(c.s3, f"{verb}_{kind}_acl") for verb in ("get", "put"))
        told = get(**where)
        (grant,) = told["Grants"]
        assert grant["Permission"] == "FULL_CONTROL" and grant["Grantee"]["ID"] == told["Owner"]["ID"], told
        put(**where, ACL="private")
        put(**where, AccessControlPolicy={"Grants": told["Grants"], "Owner": told["Owner"]})
        stranger = {"Grantee": {"Type": "CanonicalUser", "ID": "else"}, "Permission": "READ"}
        for more in [
            {"ACL": "public-read"},
            {"GrantRead": "id=else"},
            {"AccessControlPolicy": {"Grants": [stranger], "Owner": told["Owner"]}},
        ]:
            refused("NotImplemented", 501, put, **where, **more)
    refused("NoSuchKey", 404, c.s3.get_object_acl, Bucket=c.bucket, Key="absent")


@check
def lifecycle_rules_are_kept_and_objects_told_when_they_expire(c):
    where = {"Bucket": c.bucket}

    def put(*rules):
        c.s3.put_bucket_lifecycle_configuration(**where, LifecycleConfiguration={"Rules": list(rules)})

    midnight = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
    rules = [
        {
            "ID": "logs & more",
            "Status": "Enabled",
            "Filter": {"Prefix": "expiring/"},
            "Expiration": {"Days": 3},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
        {
            "ID": "all",
            "Status": "Disabled",
            "Filter": {"And": {"Prefix": "x", "Tags": tags, "ObjectSizeGreaterThan": 5, "ObjectSizeLessThan": 9}},
            "Expiration": {"Date": midnight},
        },
        {
            "ID": "versions",
            "Status": "Enabled",
            "Prefix": "",
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30, "NewerNoncurrentVersions": 5},
        },
        {"ID": "big", "Status": "Enabled", "Filter": {"ObjectSizeGreaterThan": 10 * MIB}, "Expiration": {"Days": 1}},
        {"ID": "tagged", "Status": "Enabled", "Filter": {"Tag": tags[0]}, "Expiration": {"Days": 1}},
    ]
    put(*rules)
    told = c.s3.get_bucket_lifecycle_configuration(**where)["Rules"]
    assert told == rules, told

    def expiration(key, call=c.s3.head_object, **more):
        return call(**where, Key=key, **more).get("Expiration")

    # Three days, up to the midnight after them. What was just set is heeded within moments.
    end = time.monotonic() + 20
    while not expiration("expiring/k", c.s3.put_object, Body=b"x"):
        assert time.monotonic() < end
        time.sleep(0.1)
    now = datetime.datetime.now(datetime.timezone.utc)
    days = [(now + datetime.timedelta(days=day)).strftime("%a, %d %b %Y 00:00:00 GMT") for day in (4, 5)]
    source = {"Bucket": c.bucket, "Key": "expiring/k"}
    for said in (
        expiration("expiring/k"),
        expiration("expiring/k", c.s3.get_object),
        expiration("expiring/copy", c.s3.copy_object, CopySource=source),
    ):
        assert said in [f'expiry-date="{day}", rule-id="logs%20%26%20more"' for day in days], said
    assert expiration("kept", c.s3.put_object, Body=b"x") is None
    said = expiration("tagged", c.s3.put_object, Body=b"x", Tagging="a=1&c=2")
    assert said.endswith('rule-id="tagged"'), said
    upload = c.s3.create_multipart_upload(**where, Key="expiring/parts")
    assert upload["AbortRuleId"] == "logs%20%26%20more" and upload["AbortDate"].hour == 0, upload
    c.s3.abort_multipart_upload(**where, Key="expiring/parts", UploadId=upload["UploadId"])

    good = {"Status": "Enabled", "Filter": {}}
    transition = {"Days": 1, "StorageClass": "GLACIER"}
    many = [good | {"ID": str(number), "Expiration": {"Days": 1}} for number in range(1001)]
    for code, *wrong in [
        ("InvalidArgument", good | {"Expiration": {"Days": 0}}),
        ("InvalidArgument", good | {"Expiration": {"Date": midnight + datetime.timedelta(hours=1)}}),
        ("InvalidArgument", *[good | {"ID": "same", "Expiration": {"Days": 1}}] * 2),
        ("InvalidArgument", good | {"ID": "x" * 256, "Expiration": {"Days": 1}}),
        ("InvalidRequest", good),
        ("InvalidRequest", good | {"Filter": {"Tag": tags[0]}, "Expiration": {"ExpiredObjectDeleteMarker": True}}),
        ("MalformedXML", good | {"Expiration": {"Days": 1, "Date": midnight}}),
        ("MalformedXML", good | {"Prefix": "", "Expiration": {"Days": 1}}),
        ("MalformedXML", good | {"Status": "On", "Expiration": {"Days": 1}}),
        ("MalformedXML", good | {"NoncurrentVersionExpiration": {"NewerNoncurrentVersions": 5}}),
        ("MalformedXML", *many),
        ("NotImplemented", good | {"Transitions": [transition]}),
    ]:
        refused(code, 501 if code == "NotImplemented" else 400, put, *wrong)
    assert c.s3.get_bucket_lifecycle_configuration(**where)["Rules"] == rules, "what was refused changed nothing"
    put(*many[:1000])
    assert len(c.s3.get_bucket_lifecycle_configuration(**where)["Rules"]) == 1000
    refused("NoSuchBucket", 404, c.s3.get_bucket_lifecycle_configuration, Bucket=f"{c.bucket}-not")
    for _ in range(2):
        c.s3.delete_bucket_lifecycle(**where)
    refused("NoSuchLifecycleConfiguration", 404, c.s3.get_bucket_lifecycle_configuration, **where)


@check
def what_a_bucket_does_not_have_is_told_as_s3_tells_it(c):
    for operation, code in [
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_policy_status", "NoSuchBucketPolicy"),
        ("get_public_access_block", "NoSuchPublicAccessBlockConfiguration"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_bucket_ownership_controls", "OwnershipControlsNotFoundError"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
    ]:
        refused(code, 404, getattr(c.s3, operation), Bucket=c.bucket)
        refused("NoSuchBucket", 404, getattr(c.s3, operation), Bucket=f"{c.bucket}-not")


@check
def pages_of_other_sites_see_what_the_rules_of_a_bucket_say(c):
    refused("NoSuchCORSConfiguration", 404, c.s3.get_bucket_cors, Bucket=c.bucket)
    rule = {
        "ID": "editors",
        "AllowedOrigins": ["https://*.example.org"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag", "x-amz-request-id"],
        "MaxAgeSeconds": 600,
    }
    anybody = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}
    c.s3.put_bucket_cors(Bucket=c.bucket, CORSConfiguration={"CORSRules": [rule, anybody]})
    assert c.s3.get_bucket_cors(Bucket=c.bucket)["CORSRules"] == [rule, anybody]
    for wrong, code in [
        ({"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}, "InvalidRequest"),
        ({"AllowedOrigins": ["http://*.*"], "AllowedMethods": ["GET"]}, "InvalidRequest"),
    ]:
        rules = {"CORSRules": [wrong]}
        refused(code, 400, c.s3.put_bucket_cors, Bucket=c.bucket, CORSConfiguration=rules)
    assert c.s3.get_bucket_cors(Bucket=c.bucket)["CORSRules"] == [rule, anybody], "a refusal changes nothing"

    c.s3.put_object(Bucket=c.bucket, Key="page", Body=b"text")
    put = c.s3.generate_presigned_url("put_object", {"Bucket": c.bucket, "Key": "page"})
    get = c.s3.generate_presigned_url("get_object", {"Bucket": c.bucket, "Key": "page"})
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    # What is believed of a bucket is at most a second old.
    time.sleep(1.1)
    for origin, status in [("https://a.example.org", 200), ("https://example.net", 403)]:
        answer, _ = request(put, "OPTIONS", headers={"Origin": origin, **asked})
        assert answer.status == status, answer.status
        allowed = answer.getheader("Access-Control-Allow-Origin")
        assert allowed == (origin if status == 200 else None), allowed
    for origin, allowed in [("https://a.example.org", "https://a.example.org"), ("https://example.net", "*")]:
        answer, data = request(get, headers={"Origin": origin})
        assert (answer.status, data) == (200, b"text")
        assert answer.getheader("Access-Control-Allow-Origin") == allowed
    answer, _ = request(get, headers={"Origin": "https://a.example.org"})
    exposed = answer.getheader("Access-Control-Expose-Headers")
    assert exposed == "ETag, x-amz-request-id", exposed
    c.s3.delete_bucket_cors(Bucket=c.bucket)
    refused("NoSuchCORSConfiguration", 404, c.s3.get_bucket_cors, Bucket=c.bucket)
    refused("NoSuchBucket", 404, c.s3.put_bucket_cors, Bucket=f"{c.bucket}-not", CORSConfiguration={"CORSRules": [rule]})


def granted(call, **arguments):
    """The call is refused until what is believed of credentials and buckets, for a second at most, is new."""
    end = time.monotonic() + 10
    while True:
        try:
            return call(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("AccessDenied", "403") or time.monotonic() > end:
                raise
            time.sleep(0.1)


def withdrawn(call, **arguments):
    """The call is granted until then."""
    end = time.monotonic() + 10
    while True:
        try:
            call(**arguments)
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("AccessDenied", "403"), error
            return error.response["Error"].get("Message", "")
        assert time.monotonic() < end, "still granted"
        time.sleep(0.1)


def statement(c, effect, principal, actions, resource, **more):
    resource = f"arn:aws:s3:::{c.bucket}{resource}"
    return {"Effect": effect, "Principal": principal, "Action": actions, "Resource": resource, **more}


def set_policy(c, *statements):
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    c.s3.put_bucket_policy(Bucket=c.bucket, Policy=policy)
    return policy


@check
def a_credential_with_few_rights_does_no_more(c):
    if not c.few:
        return
    c.s3.put_object(Bucket=c.bucket, Key="few/a", Body=b"a")
    c.s3.create_bucket(Bucket=f"not-{c.bucket}")
    try:
        shown = [bucket["Name"] for bucket in c.few.list_buckets()["Buckets"]]
        assert c.bucket in shown and f"not-{c.bucket}" not in shown, shown
        message = refused("AccessDenied", 403, c.few.list_objects_v2, Bucket=f"not-{c.bucket}")["Error"]["Message"]
        assert "lacks the right to read" in message and f"not-{c.bucket}" in message, message
    finally:
        c.s3.delete_bucket(Bucket=f"not-{c.bucket}")
    here = {"Bucket": c.bucket}
    a = {**here, "Key": "few/a"}
    assert body(c.few.get_object(**a)) == b"a" and c.few.head_object(**a)["ContentLength"] == 1
    assert [entry["Key"] for entry in c.few.list_objects_v2(**here, Prefix="few/")["Contents"]] == ["few/a"]
    source = {"Bucket": c.bucket, "Key": "few/a"}
    rules = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}]}
    for right, call, arguments in [
        ("write", c.few.put_object, {**a, "Body": b"b"}),
        ("write", c.few.copy_object, {**here, "Key": "few/b", "CopySource": source}),
        ("write", c.few.create_multipart_upload, a),
        ("write", c.few.put_object_tagging, {**a, "Tagging": {"TagSet": []}}),
        ("delete", c.few.delete_object, a),
        ("delete", c.few.delete_objects, {**here, "Delete": {"Objects": [{"Key": "few/a"}]}}),
        ("administer", c.few.put_bucket_cors, {**here, "CORSConfiguration": rules}),
        ("administer", c.few.put_bucket_acl, {**here, "ACL": "private"}),
        ("administer", c.few.get_bucket_policy, here),
        ("administer", c.few.put_bucket_policy, {**here, "Policy": "{}"}),
        ("administer", c.few.create_bucket, {"Bucket": f"{c.bucket}-new"}),
        ("administer", c.few.delete_bucket, here),
    ]:
        message = refused("AccessDenied", 403, call, **arguments)["Error"]["Message"]
        assert f"lacks the right to {right} in the bucket {arguments['Bucket']}" in message, message
    url = c.few.generate_presigned_url("put_object", {"Bucket": c.bucket, "Key": "few/a"})
    status, text = fetch(url, "PUT", b"b")
    assert status == 403 and b"lacks the right to write" in text, text
    post = c.few.generate_presigned_post(c.bucket, "few/form")
    data, headers = form(post["fields"], b"b")
    status, text = fetch(post["url"], "POST", data, headers)
    assert status == 403 and b"lacks the right to write" in text, text
    assert body(c.s3.get_object(**a)) == b"a"


@check
def a_policy_adds_to_rights_and_takes_from_them(c):
    if not c.few:
        return
    few, a = {"AWS": c.options.few_access_key}, {"Bucket": c.bucket, "Key": "few/a"}
    text = set_policy(
        c,
        statement(c, "Allow", few, ["s3:PutObject", "s3:DeleteObject"], "/few/*"),
        statement(c, "Deny", "*", "s3:DeleteObject", "/few/kept"),
        statement(c, "Deny", few, "s3:ListBucket", "", Condition={"StringEquals": {"s3:prefix": "secret/"}}),
    )
    assert c.s3.get_bucket_policy(Bucket=c.bucket)["Policy"] == text
    assert c.s3.get_bucket_policy_status(Bucket=c.bucket)["PolicyStatus"]["IsPublic"] is False
    granted(c.few.put_object, **a, Body=b"b")
    refused("AccessDenied", 403, c.few.put_object, Bucket=c.bucket, Key="else", Body=b"b")
    c.s3.put_object(Bucket=c.bucket, Key="few/kept", Body=b"kept")
    for client in (c.s3, c.few):
        gone = {"Objects": [{"Key": "few/a"}, {"Key": "few/kept"}]}
        done = client.delete_objects(Bucket=c.bucket, Delete=gone)
        assert [entry["Key"] for entry in done["Deleted"]] == ["few/a"], done
        assert [(e["Key"], e["Code"]) for e in done["Errors"]] == [("few/kept", "AccessDenied")], done
        denied = refused("AccessDenied", 403, client.delete_object, Bucket=c.bucket, Key="few/kept")["Error"]
        assert "policy of the bucket denies s3:DeleteObject" in denied["Message"], denied
    refused("AccessDenied", 403, c.few.list_objects_v2, Bucket=c.bucket, Prefix="secret/")
    c.few.list_objects_v2(Bucket=c.bucket, Prefix="few/")

    # Nobody is locked out.
    set_policy(c, statement(c, "Deny", "*", "s3:*", "*"))
    withdrawn(c.s3.list_objects_v2, Bucket=c.bucket)
    refused("AccessDenied", 403, c.s3.get_object, Bucket=c.bucket, Key="few/kept")
    assert "Deny" in c.s3.get_bucket_policy(Bucket=c.bucket)["Policy"]
    c.s3.delete_bucket_policy(Bucket=c.bucket)
    refused("NoSuchBucketPolicy", 404, c.s3.get_bucket_policy, Bucket=c.bucket)
    granted(c.s3.get_object, Bucket=c.bucket, Key="few/kept")


@check
def what_no_policy_enforces_is_refused_with_its_place(c):
    good = statement(c, "Allow", "*", "s3:GetObject", "/*")
    for wrong, place in [
        ({"Action": "s3:GetObjekt"}, "Statement 2: Action"),
        ({"Resource": "arn:aws:s3:::else/*"}, "Statement 2: Resource"),
        ({"Principal": {"AWS": "NOBODYATALL"}}, "NOBODYATALL"),
        ({"Condition": {"StringEquals": {"aws:UserAgent": "x"}}}, "aws:UserAgent"),
        ({"NotPrincipal": "*"}, "NotPrincipal"),
    ]:
        policy = json.dumps({"Version": "2012-10-17", "Statement": [good, {**good, **wrong}]})
        message = refused("MalformedPolicy", 400, c.s3.put_bucket_policy, Bucket=c.bucket, Policy=policy)
        assert place in message["Error"]["Message"], message
    refused("NoSuchBucketPolicy", 404, c.s3.get_bucket_policy, Bucket=c.bucket)
    refused("NoSuchBucket", 404, c.s3.delete_bucket_policy, Bucket=f"{c.bucket}-not")


@check
def strangers_do_what_a_policy_allows(c):
    """Where the endpoint is the tenant's name: without a signature nothing else says whose bucket is meant."""
    stranger, open_ = c.client(signature_version=UNSIGNED), {"Bucket": c.bucket, "Key": "open/a"}
    c.s3.put_object(**open_, Body=b"open")
    refused("AccessDenied", 403, stranger.get_object, **open_)
    set_policy(c, statement(c, "Allow", "*", "s3:GetObject", "/open/*"))
    assert c.s3.get_bucket_policy_status(Bucket=c.bucket)["PolicyStatus"]["IsPublic"] is True
    if c.options.addressing == "virtual":
        assert body(granted(stranger.get_object, **open_)) == b"open"
        assert stranger.head_object(**open_)["ContentLength"] == 4
        refused("AccessDenied", 403, stranger.get_object, Bucket=c.bucket, Key="size/1")
        refused("AccessDenied", 403, stranger.list_objects_v2, Bucket=c.bucket)
        refused("AccessDenied", 403, stranger.put_object, **open_, Body=b"x")
        refused("AccessDenied", 403, stranger.list_buckets)
    block = {"BlockPublicPolicy": True, "RestrictPublicBuckets": True}
    c.s3.put_public_access_block(Bucket=c.bucket, PublicAccessBlockConfiguration=block)
    told = c.s3.get_public_access_block(Bucket=c.bucket)["PublicAccessBlockConfiguration"]
    assert {name: told[name] for name in block} == block, told
    withdrawn(stranger.get_object, **open_)
    public = json.dumps({"Statement": statement(c, "Allow", "*", "s3:PutObject", "/*")})
    refused("AccessDenied", 403, c.s3.put_bucket_policy, Bucket=c.bucket, Policy=public)
    c.s3.delete_public_access_block(Bucket=c.bucket)
    c.s3.delete_bucket_policy(Bucket=c.bucket)
    withdrawn(stranger.get_object, **open_)


@check
def strangers_are_refused(c):
    url = c.s3.generate_presigned_url("get_object", Params={"Bucket": c.bucket, "Key": "size/1"}).split("?")[
        0
    ]
    status, text = fetch(url)
    assert status == 403 and b"AccessDenied" in text, text
    wrong = c.client(keys={"secret_key": "not the secret"})
    refused("SignatureDoesNotMatch", 403, wrong.list_objects_v2, Bucket=c.bucket)
    nobody = c.client(keys={"access_key": "NOBODYATALL"})
    refused("InvalidAccessKeyId", 403, nobody.list_objects_v2, Bucket=c.bucket)


@check
def what_the_system_keeps_for_itself_is_not_written(c):
    for call in (c.s3.put_object, c.s3.create_multipart_upload):
        refused("AccessDenied", 403, call, Bucket=c.bucket, Key=".lost+found/replication/x")
    assert c.s3.list_objects_v2(Bucket=c.bucket, Prefix=".lost+found/")["KeyCount"] == 0


@check
def what_is_not_offered_says_so(c):
    refused("NotImplemented", 501, c.s3.put_bucket_logging, Bucket=c.bucket, BucketLoggingStatus={})
    refused("NotImplemented", 501, c.s3.put_object, Bucket=c.bucket, Key="k", Body=b"", ACL="public-read")
    refused(
        "NotImplemented",
        501,
        c.s3.put_object,
        Bucket=c.bucket,
        Key="k",
        Body=b"",
        ServerSideEncryption="aws:kms",
    )
    refused("InvalidArgument", 400, c.s3.get_object, Bucket=c.bucket, Key="size/1", VersionId="3")
    mfa = {"Status": "Enabled", "MFADelete": "Enabled"}
    refused("NotImplemented", 501, c.s3.put_bucket_versioning, Bucket=c.bucket, VersioningConfiguration=mfa)


def set_versioning(c, status):
    c.s3.put_bucket_versioning(Bucket=c.versioned, VersioningConfiguration={"Status": status})
    assert c.s3.get_bucket_versioning(Bucket=c.versioned)["Status"] == status


def versions(c, **asked):
    """All versions and delete markers: key, version, whether it is the latest and whether a marker."""
    found = []
    for page in c.s3.get_paginator("list_object_versions").paginate(Bucket=c.versioned, **asked):
        for kind in ("Versions", "DeleteMarkers"):
            for one in page.get(kind, []):
                found.append((one["Key"], one["VersionId"], one["IsLatest"], kind == "DeleteMarkers"))
    return found


@check
def versions_are_kept_listed_and_read(c):
    c.s3.create_bucket(Bucket=c.versioned)
    before = c.s3.put_object(Bucket=c.versioned, Key="k", Body=b"before versioning")
    assert "VersionId" not in before
    assert versions(c) == [("k", "null", True, False)]
    set_versioning(c, "Enabled")
    assert c.s3.head_object(Bucket=c.versioned, Key="k")["VersionId"] == "null"
    ids = [c.s3.put_object(Bucket=c.versioned, Key="k", Body=b"%d" % n)["VersionId"] for n in range(3)]
    assert len(set(ids)) == 3 and len({len(version) for version in ids}) == 1
    got = c.s3.get_object(Bucket=c.versioned, Key="k")
    assert body(got) == b"2" and got["VersionId"] == ids[2]
    for number, version in enumerate(ids):
        got = c.s3.get_object(Bucket=c.versioned, Key="k", VersionId=version)
        assert body(got) == b"%d" % number and got["VersionId"] == version
        assert c.s3.head_object(Bucket=c.versioned, Key="k", VersionId=version)["VersionId"] == version
    assert body(c.s3.get_object(Bucket=c.versioned, Key="k", VersionId="null")) == b"before versioning"
    expected = [("k", version, version == ids[2], False) for version in [*reversed(ids), "null"]]
    for size in (1, 2, 3, 1000):
        assert versions(c, PaginationConfig={"PageSize": size}) == expected, size
    last = c.s3.list_object_versions(Bucket=c.versioned)["Versions"][-1]
    assert last["Size"] == 17 and last["ETag"] == before["ETag"] and last["StorageClass"] == "STANDARD"
    attributes = c.s3.get_object_attributes(
        Bucket=c.versioned, Key="k", VersionId=ids[0], ObjectAttributes=["ObjectSize"]
    )
    assert (attributes["ObjectSize"], attributes["VersionId"]) == (1, ids[0])
    unknown = ids[0][:-1] + ("0" if ids[0][-1] != "0" else "1")
    refused("NoSuchVersion", 404, c.s3.get_object, Bucket=c.versioned, Key="k", VersionId=unknown)
    refused("InvalidArgument", 400, c.s3.get_object, Bucket=c.versioned, Key="k", VersionId="what")
    where = {"Bucket": c.versioned, "VersionIdMarker": ids[0]}
    refused("InvalidArgument", 400, c.s3.list_object_versions, **where)
    refused("PreconditionFailed", 412, c.s3.put_object, Bucket=c.versioned, Key="k", Body=b"", IfMatch=before["ETag"])
    url = c.s3.generate_presigned_url("get_object", Params={"Bucket": c.versioned, "Key": "k", "VersionId": ids[1]})
    assert fetch(url)[1] == b"1"


@check
def a_delete_leaves_a_marker_and_a_version_is_deleted_for_good(c):
    where = {"Bucket": c.versioned, "Key": "gone"}
    first = c.s3.put_object(**where, Body=b"1")["VersionId"]
    deleted = c.s3.delete_object(**where)
    marker = deleted["VersionId"]
    assert deleted["DeleteMarker"] and marker != first
    for read in (c.s3.get_object, c.s3.head_object):
        headers = refused("NoSuchKey", 404, read, **where)["ResponseMetadata"]["HTTPHeaders"]
        assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker), headers
        headers = refused("MethodNotAllowed", 405, read, **where, VersionId=marker)["ResponseMetadata"]["HTTPHeaders"]
        assert headers["x-amz-delete-marker"] == "true" and headers["last-modified"]
        assert (headers["x-amz-version-id"], headers["allow"]) == (marker, "DELETE")
    for version, code, status in ((None, "NoSuchKey", 404), (marker, "InvalidRequest", 400)):
        source = where | ({"VersionId": version} if version else {})
        refused(code, status, c.s3.copy_object, Bucket=c.versioned, Key="copy", CopySource=source)
    assert "gone" not in [entry["Key"] for entry in c.s3.list_objects_v2(Bucket=c.versioned)["Contents"]]
    assert versions(c, Prefix="gone") == [("gone", first, False, False), ("gone", marker, True, True)]
    c.s3.put_object(**where, Body=b"", IfNoneMatch="*")
    newest = versions(c, Prefix="gone")[0][1]
    c.s3.delete_object(**where, VersionId=newest)
    taken = c.s3.delete_object(**where, VersionId=marker)
    assert taken["DeleteMarker"] and taken["VersionId"] == marker
    assert body(c.s3.get_object(**where)) == b"1", "what the marker hid is there again"
    c.s3.delete_object(**where, VersionId=marker)
    answer = c.s3.delete_objects(
        Bucket=c.versioned,
        Delete={
            "Objects": [
                {"Key": "gone", "VersionId": first},
                {"Key": "never"},
                {"Key": "gone", "VersionId": "what"},
            ]
        },
    )
    deleted = {entry["Key"]: entry for entry in answer["Deleted"]}
    assert deleted["gone"] == {"Key": "gone", "VersionId": first}, answer
    never = deleted["never"]
    assert never["DeleteMarker"] and "VersionId" not in never, answer
    assert [(error["Code"], error["VersionId"]) for error in answer["Errors"]] == [("InvalidArgument", "what")]
    marker = never["DeleteMarkerVersionId"]
    assert versions(c, Prefix="never") == [("never", marker, True, True)]
    again = {"Objects": [{"Key": "never", "VersionId": marker}]}
    (again,) = c.s3.delete_objects(Bucket=c.versioned, Delete=again)["Deleted"]
    assert again["DeleteMarkerVersionId"] == marker and again["DeleteMarker"], again
    assert versions(c, Prefix="never") == versions(c, Prefix="gone") == []


@check
def versions_are_copied_tagged_and_made_of_parts(c):
    old, new = (c.s3.put_object(Bucket=c.versioned, Key="copied", Body=bytes)["VersionId"] for bytes in (b"o", b"n"))
    source = {"Bucket": c.versioned, "Key": "copied", "VersionId": old}
    made = c.s3.copy_object(Bucket=c.versioned, Key="copied", CopySource=source)
    assert made["CopySourceVersionId"] == old and made["VersionId"] not in (old, new)
    assert body(c.s3.get_object(Bucket=c.versioned, Key="copied")) == b"o"
    where = {"Bucket": c.versioned, "Key": "copied", "VersionId": new}
    tags = {"TagSet": [{"Key": "of", "Value": "one version"}]}
    assert c.s3.put_object_tagging(**where, Tagging=tags)["VersionId"] == new
    assert c.s3.get_object_tagging(**where)["TagSet"] == tags["TagSet"]
    assert c.s3.get_object_tagging(Bucket=c.versioned, Key="copied")["TagSet"] == []
    assert c.s3.delete_object_tagging(**where)["VersionId"] == new
    assert c.s3.get_object_tagging(**where)["TagSet"] == []
    assert versions(c, Prefix="copied")[0][1] == made["VersionId"], "tags make nothing current"
    where = {"Bucket": c.versioned, "Key": "parts"}
    upload = c.s3.create_multipart_upload(**where)["UploadId"]
    part = c.s3.upload_part_copy(**where, UploadId=upload, PartNumber=1, CopySource=source)
    assert part["CopySourceVersionId"] == old
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
    done = c.s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    assert c.s3.head_object(**where)["VersionId"] == done["VersionId"]
    made = c.s3.generate_presigned_post(c.versioned, "form")
    answer, _ = request(made["url"], "POST", *form(made["fields"], b"x"))
    assert answer.headers["x-amz-version-id"] == versions(c, Prefix="form")[0][1], answer.status


@check
def versions_are_listed_with_prefix_and_delimiter(c):
    for key in ("list/a/1", "list/a/2", "list/b/1", "list/top", "list/ü +"):
        for _ in range(2):
            c.s3.put_object(Bucket=c.versioned, Key=key, Body=b"")
    c.s3.delete_object(Bucket=c.versioned, Key="list/b/1")
    for size in (1, 3, 1000):
        found, prefixes = [], []
        pages = c.s3.get_paginator("list_object_versions").paginate(
            Bucket=c.versioned, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": size}
        )
        for page in pages:
            found += [entry["Key"] for entry in page.get("Versions", [])]
            prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        assert found == ["list/top"] * 2 + ["list/ü +"] * 2, found
        assert prefixes == ["list/a/", "list/b/"], prefixes
    # Current versions alone: nothing shows that is behind a marker.
    page = c.s3.list_objects_v2(Bucket=c.versioned, Prefix="list/", Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["list/a/"]


@check
def suspended_versioning_keeps_what_there_is_and_overwrites_the_null_version(c):
    where = {"Bucket": c.versioned, "Key": "suspended"}
    kept = c.s3.put_object(**where, Body=b"kept")["VersionId"]
    set_versioning(c, "Suspended")
    for text in (b"one", b"two"):
        assert c.s3.put_object(**where, Body=text)["VersionId"] == "null"
    assert versions(c, Prefix="suspended") == [("suspended", "null", True, False), ("suspended", kept, False, False)]
    assert body(c.s3.get_object(**where)) == b"two"
    deleted = c.s3.delete_object(**where)
    assert deleted["DeleteMarker"] and deleted["VersionId"] == "null"
    assert versions(c, Prefix="suspended") == [("suspended", kept, False, False), ("suspended", "null", True, True)]
    c.s3.delete_object(**where, VersionId="null")
    assert body(c.s3.get_object(**where)) == b"kept"
    set_versioning(c, "Enabled")
    refused("BucketNotEmpty", 409, c.s3.delete_bucket, Bucket=c.versioned)


@check
def locked_versions_are_kept(c):
    c.s3.create_bucket(Bucket=c.locked, ObjectLockEnabledForBucket=True)
    assert c.s3.get_bucket_versioning(Bucket=c.locked)["Status"] == "Enabled"
    configured = c.s3.get_object_lock_configuration(Bucket=c.locked)["ObjectLockConfiguration"]
    assert configured == {"ObjectLockEnabled": "Enabled"}, configured
    suspended = {"Status": "Suspended"}
    refused("InvalidBucketState", 409, c.s3.put_bucket_versioning, Bucket=c.locked, VersioningConfiguration=suspended)
    until = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(hours=1)
    where = {"Bucket": c.locked, "Key": "k"}
    governed = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    given = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON"}
    id = c.s3.put_object(**where, Body=b"x", **given)["VersionId"]
    one = where | {"VersionId": id}
    for read in (c.s3.head_object, c.s3.get_object):
        assert {name: read(**one)[name] for name in given} == given
    assert c.s3.get_object_retention(**one)["Retention"] == governed
    assert c.s3.get_object_legal_hold(**one)["LegalHold"] == {"Status": "ON"}
    marker = c.s3.delete_object(**where)["VersionId"]
    c.s3.delete_object(**where, VersionId=marker)
    bypass = {"BypassGovernanceRetention": True}
    refused("AccessDenied", 403, c.s3.delete_object, **one, **bypass)
    answer = c.s3.delete_objects(Bucket=c.locked, Delete={"Objects": [{"Key": "k", "VersionId": id}]}, **bypass)
    assert [(error["Code"], error["VersionId"]) for error in answer["Errors"]] == [("AccessDenied", id)]
    c.s3.put_object_legal_hold(**one, LegalHold={"Status": "OFF"})
    assert c.s3.get_object_legal_hold(**one)["LegalHold"] == {"Status": "OFF"}
    refused("AccessDenied", 403, c.s3.delete_object, **one)
    longer = governed | {"RetainUntilDate": until + datetime.timedelta(hours=1)}
    c.s3.put_object_retention(**one, Retention=longer)
    refused("AccessDenied", 403, c.s3.put_object_retention, **one, Retention=governed)
    c.s3.put_object_retention(**one, Retention=governed, **bypass)
    assert c.s3.get_object_retention(**one)["Retention"] == governed
    c.s3.delete_object(**one, **bypass)
    past = {"Mode": "GOVERNANCE", "RetainUntilDate": until - datetime.timedelta(days=1)}
    id = c.s3.put_object(**where, Body=b"x")["VersionId"]
    one = where | {"VersionId": id}
    refused("InvalidArgument", 400, c.s3.put_object_retention, **one, Retention=past)
    refused("NoSuchObjectLockConfiguration", 404, c.s3.get_object_retention, **one)
    refused("InvalidRequest", 400, c.s3.put_object, Bucket=c.bucket, Key="k", Body=b"", ObjectLockLegalHoldStatus="ON")
    refused("InvalidArgument", 400, c.s3.put_object, **where, Body=b"", ObjectLockMode="GOVERNANCE")
    # What is written without a word; compliance for two seconds, so that the bucket can be removed.
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    c.s3.put_object_lock_configuration(Bucket=c.locked, ObjectLockConfiguration=configuration)
    assert c.s3.get_object_lock_configuration(Bucket=c.locked)["ObjectLockConfiguration"] == configuration
    copied = c.s3.copy_object(Bucket=c.locked, Key="copied", CopySource=one)["VersionId"]
    upload = c.s3.create_multipart_upload(Bucket=c.locked, Key="parts", ObjectLockLegalHoldStatus="ON")["UploadId"]
    part = c.s3.upload_part(Bucket=c.locked, Key="parts", UploadId=upload, PartNumber=1, Body=b"p")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    made = c.s3.complete_multipart_upload(Bucket=c.locked, Key="parts", UploadId=upload, MultipartUpload=parts)
    for key, version, hold in (("copied", copied, None), ("parts", made["VersionId"], "ON")):
        head = c.s3.head_object(Bucket=c.locked, Key=key, VersionId=version)
        assert head["ObjectLockMode"] == "GOVERNANCE" and head.get("ObjectLockLegalHoldStatus") == hold, head
    c.s3.put_object_legal_hold(Bucket=c.locked, Key="parts", LegalHold={"Status": "OFF"})
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    c.s3.put_object_retention(**one, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": soon})
    for change in (c.s3.delete_object, lambda **one: c.s3.put_object_retention(**one, Retention=governed)):
        refused("AccessDenied", 403, change, **one, **bypass)
    time.sleep(2.1)
    c.s3.delete_object(**one)
    refused("InvalidRequest", 400, c.s3.put_object_legal_hold, Bucket=c.versioned, Key="k", LegalHold={"Status": "ON"})


def empty(c):
    for bucket in (c.bucket, c.other, c.versioned, c.locked):
        try:
            for page in c.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                found = page.get("Versions", []) + page.get("DeleteMarkers", [])
                doomed = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
                if doomed:
                    c.s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed}, BypassGovernanceRetention=True)
            for upload in c.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
                c.s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            c.s3.delete_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise


@check
def empty_buckets_are_removed(c):
    empty(c)
    refused("NoSuchBucket", 404, c.s3.head_bucket, Bucket=c.bucket)
    names = [bucket["Name"] for bucket in c.s3.list_buckets()["Buckets"]]
    assert c.bucket not in names and c.other not in names


@check
def every_operation_that_the_readme_tells_of_was_called(c):
    table = README.read_text(encoding="utf-8").split("\n## S3\n")[1].split("\n## ")[0]
    rows = [line.split(" | ")[1] for line in table.splitlines() if line.startswith("| ") and " | " in line]
    told = {name for row in rows for name in re.findall("`([A-Za-z0-9]+)`", row)}
    assert "GetObject" in told
    # No SDK sends a browser's form; it has a check of its own.
    missing = told - CALLED - {"PostObject"}
    assert not missing, missing


def connect_to(address):
    """Sends every connection to one address, whatever name it is for."""
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **named: resolve(address, *rest, **named)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--access-key", required=True)
    parser.add_argument("--secret-key", required=True)
    parser.add_argument("--few-access-key", help="of a credential with the rights conformance-*=read")
    parser.add_argument("--few-secret-key")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--addressing", choices=["path", "virtual"], default="path")
    parser.add_argument("--connect", help="connect to this address instead of the endpoint's name")
    parser.add_argument("--plain-names", action="store_true", help="no dots in bucket names (directories)")
    parser.add_argument("--keep", action="store_true", help="leave the buckets behind after a failure")
    options = parser.parse_args()
    if options.connect:
        connect_to(options.connect)
    client = Client(options)
    for function in CHECKS:
        began = time.monotonic()
        try:
            function(client)
        except Exception as error:
            print(f"FAILED {function.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
            if not options.keep:
                empty(client)
            raise
        print(f"ok {function.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
    print(f"{len(CHECKS)} checks passed with boto3 {boto3.__version__}")


if __name__ == "__main__":
    main()
