"""minio-py with its own defaults."""

import hashlib
import io
import os
import random
import urllib.request
from urllib.parse import urlsplit

from minio import Minio
from minio.commonconfig import ComposeSource, CopySource, Tags
from minio.deleteobjects import DeleteObject
from phases import live, soon

client = Minio(
    endpoint=urlsplit(os.environ["ENDPOINT"]).netloc,
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=False,
)
BUCKET, PART = "minio-py", 5 << 20
written = {}


def put(name, size):
    content = random.Random(name).randbytes(size)
    # A length that nobody knows beforehand is how minio-py is made to send parts.
    client.put_object(
        bucket_name=BUCKET,
        object_name=name,
        data=io.BytesIO(content),
        length=-1,
        part_size=PART,
        content_type="image/png",
        metadata={"maker": "minio-py"},
    )
    written[name] = hashlib.sha256(content).hexdigest()


def same():
    assert {item.object_name for item in client.list_objects(bucket_name=BUCKET, recursive=True)} == set(written)
    for name, digest in written.items():
        answer = client.get_object(bucket_name=BUCKET, object_name=name)
        try:
            assert hashlib.sha256(answer.read()).hexdigest() == digest, name
        finally:
            answer.close()
            answer.release_conn()


def tags():
    return dict(client.get_object_tags(bucket_name=BUCKET, object_name="parts") or {})


def before():
    client.make_bucket(bucket_name=BUCKET)
    put("small", 10)
    put("parts", 2 * PART + 1)
    wanted = Tags.new_object_tags()
    wanted["site"] = "east"
    client.set_object_tags(bucket_name=BUCKET, object_name="parts", tags=wanted)
    same()


def after():
    same()
    assert tags() == {"site": "east"}
    stat = client.stat_object(bucket_name=BUCKET, object_name="parts")
    assert stat.content_type == "image/png" and stat.metadata["x-amz-meta-maker"] == "minio-py"
    client.copy_object(bucket_name=BUCKET, object_name="copy", source=CopySource(bucket_name=BUCKET, object_name="small"))
    written["copy"] = written["small"]
    sources = [ComposeSource(bucket_name=BUCKET, object_name=name) for name in ("parts", "small")]
    client.compose_object(bucket_name=BUCKET, object_name="composed", sources=sources)
    content = b"".join(random.Random(name).randbytes(size) for name, size in (("parts", 2 * PART + 1), ("small", 10)))
    written["composed"] = hashlib.sha256(content).hexdigest()
    put("replica", PART + 5)
    same()


def home():
    soon(same)
    put("home", 3)
    url = client.presigned_get_object(bucket_name=BUCKET, object_name="home")
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == written["home"]
    gone = [DeleteObject(name=name) for name in ("composed", "copy")]
    assert not list(client.remove_objects(bucket_name=BUCKET, delete_object_list=gone))
    del written["composed"], written["copy"]
    soon(same)
    for name in list(written):
        client.remove_object(bucket_name=BUCKET, object_name=name)
    client.remove_bucket(bucket_name=BUCKET)


live({"before": before, "after": after, "home": home})
