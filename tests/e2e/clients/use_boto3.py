"""boto3 with its own defaults: the resource, the transfer manager, paginators."""

import hashlib
import os
import random

import boto3
from phases import live, soon

s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"])
BUCKET, LARGE = "boto3-reports", 20 << 20
written = {}


def put(key, size):
    path = "upload.bin"
    content = random.Random(key).randbytes(size)
    with open(path, "wb") as file:
        file.write(content)
    s3.upload_file(path, BUCKET, key, ExtraArgs={"Metadata": {"made": "with boto3"}, "ContentType": "text/x-report"})
    written[key] = hashlib.sha256(content).hexdigest()


def same():
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    assert {entry["Key"] for page in pages for entry in page.get("Contents", [])} == set(written)
    for key, digest in written.items():
        s3.download_file(BUCKET, key, "download.bin")
        with open("download.bin", "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == digest, key
        head = s3.head_object(Bucket=BUCKET, Key=key)
        assert (head["Metadata"], head["ContentType"]) == ({"made": "with boto3"}, "text/x-report")


def before():
    s3.create_bucket(Bucket=BUCKET)
    put("small", 1000)
    put("large", LARGE)
    same()


def after():
    same()
    put("large", LARGE + 1)
    put("on the replica", 10)
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "large"})
    written["copy"] = written["large"]
    s3.delete_object(Bucket=BUCKET, Key="small")
    del written["small"]
    same()


def home():
    soon(same)
    put("home", 100)
    soon(same)
    bucket = boto3.resource("s3", endpoint_url=os.environ["ENDPOINT"]).Bucket(BUCKET)
    bucket.objects.filter(Prefix="on the").delete()
    del written["on the replica"]
    soon(same)


live({"before": before, "after": after, "home": home})
