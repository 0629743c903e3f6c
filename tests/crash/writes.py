"""Steps: what clients and administrators write, and its way to the other system."""

import hashlib

import botocore.exceptions
from bed import PATIENCE, SYSTEMS
from lab import Refused, eventually, expect

# Of one piece of the blob writer, 4 MiB, and a bit.
LARGE = b"large " * 800_000
PART = b"part- " * 900_000


def put_small(bed):
    key = bed.fresh("small")
    yield
    bed.put("east", key, key.encode())
    bed.arrives(key, "west")
    yield


def put_blob(bed):
    key = bed.fresh("blob")
    yield
    bed.put("east", key, key.encode() * 10_000)
    bed.arrives(key, "west")
    yield


def put_large(bed):
    key = bed.fresh("large")
    yield
    bed.put("east", key, LARGE + key.encode())
    bed.arrives(key, "west")
    yield


def overwrite(bed):
    key = bed.fresh("over")
    bed.put("east", key, key.encode() * 10_000)
    bed.arrives(key, "west")
    yield
    bed.put("east", key, b"again " + key.encode())
    bed.arrives(key, "west")
    yield


def multipart(bed):
    key = bed.fresh("parts")
    yield
    bodies = [PART, key.encode()]
    upload = eventually(lambda: bed.ask("east", key, lambda s3: s3.create_multipart_upload(Bucket=bed.bucket, Key=key)))
    named = {"Bucket": bed.bucket, "Key": key, "UploadId": upload["UploadId"]}
    parts = []
    for number, body in enumerate(bodies, 1):
        part = eventually(
            lambda n=number, b=body: bed.ask("east", key, lambda s3: s3.upload_part(PartNumber=n, Body=b, **named)), PATIENCE
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    complete(bed, key, named, parts)
    bed.arrives(key, "west")
    yield


def complete(bed, key, named, parts):
    """An upload whose answer was lost is no more, and its object is there: then it was completed."""
    digest = hashlib.md5(b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)).hexdigest()

    def request(s3):
        try:
            return s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)
        except s3.exceptions.NoSuchUpload:
            return s3.head_object(Bucket=bed.bucket, Key=key)

    bed.write("east", key, f'"{digest}-{len(parts)}"', request)


def delete(bed):
    key = bed.fresh("deleted")
    bed.put("east", key, key.encode() * 10_000)
    bed.arrives(key, "west")
    yield
    bed.delete("east", key)
    bed.arrives(key, "west")
    yield


def tags(bed):
    key = bed.fresh("tagged")
    bed.put("east", key, key.encode())
    bed.arrives(key, "west")
    wanted = [{"Key": "colour", "Value": key}]
    yield
    eventually(
        lambda: bed.ask(
            "east", key, lambda s3: s3.put_object_tagging(Bucket=bed.bucket, Key=key, Tagging={"TagSet": wanted})
        ),
        PATIENCE,
    )
    for system in reversed(SYSTEMS):
        eventually(lambda s=system: has_tags(bed, s, key, wanted), PATIENCE)
    yield
    for system in SYSTEMS:
        eventually(lambda s=system: has_tags(bed, s, key, wanted), PATIENCE)


def has_tags(bed, system, key, wanted):
    found = bed.look(system, lambda s3: s3.get_object_tagging(Bucket=bed.bucket, Key=key))["TagSet"]
    expect(found == wanted, f"{key} on {system} has the tags {found}")


def bucket(bed):
    name = bed.fresh("bucket").replace("/", "-")

    def make(s3):
        try:
            return s3.create_bucket(Bucket=name)
        except s3.exceptions.BucketAlreadyOwnedByYou:
            return None

    def there():
        for system in SYSTEMS:
            names = [entry["Name"] for entry in bed.look(system, lambda s3: s3.list_buckets())["Buckets"]]
            expect(name in names, f"{name} is not on {system}")

    yield
    eventually(lambda: bed.ask("east", name, make), PATIENCE)
    eventually(there, PATIENCE)
    yield
    eventually(there, PATIENCE)


def credential(bed):
    name = f"AKCRASH{bed.fresh('x')[2:]:0>13}"
    words = ("credential", "create", "--tenant", "acme", "--access-key", name, "--secret-key", "s" * 40)
    yield
    eventually(lambda: made(bed, words), PATIENCE)
    eventually(lambda: works(bed, name), PATIENCE)
    yield
    eventually(lambda: works(bed, name), PATIENCE)


def made(bed, words):
    """Whose answer was lost is told that it exists; `works` finds that it is the same."""
    try:
        bed.at("east", *words)
    except Refused as refused:
        if "CREDENTIAL_EXISTS" not in str(refused):
            raise


def works(bed, name):
    """The credential opens the bucket on both systems."""
    for system in SYSTEMS:
        try:
            bed.s3(system, access_key=name, secret_key="s" * 40).list_objects_v2(Bucket=bed.bucket, MaxKeys=1)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise Refused(str(error)) from error
