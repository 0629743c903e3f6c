"""Objects expire on the side that writes, and nowhere else; their deletes replicate as any.

A rule with a date that has passed is due at once, as S3 has it, and the labs look every second: nothing waits for a day.
"""

import datetime
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import eventually, expect

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture
def swift(make_lab, monkeypatch):
    """A lab that looks for what is due every second."""
    monkeypatch.setenv("SWITCHBACK__DATA_MOVER__LIFECYCLE_INTERVAL_SECONDS", "1")
    lab = make_lab()
    lab.wait_healthy()
    return lab


def expire(s3, bucket, prefix="old/"):
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Date": PAST}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})


def versions(s3, bucket):
    page = s3.list_object_versions(Bucket=bucket)
    told = [("version", one) for one in page.get("Versions", [])]
    told += [("marker", one) for one in page.get("DeleteMarkers", [])]
    return sorted((one["Key"], kind, one["IsLatest"], one["VersionId"]) for kind, one in told)


def until_gone(s3, bucket, key):
    def gone():
        found = s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])
        expect(not found, f"{key} is there")

    eventually(gone)


def alone(lab, system):
    """A bucket of a tenant on no link, with the rule: what expires in it shows that the others were looked at."""
    lab.at(system, "tenant", "create", "alone")
    lab.at(system, "namespace", "create", "--tenant", "alone", "signs")
    made = lab.at(system, "credential", "create", "--tenant", "alone")
    s3 = lab.s3(system, made["access_key"], made["secret_key"])
    expire(s3, "signs")

    def a_round_goes_by():
        # The first may be of a round that was under way.
        for _ in range(2):
            s3.put_object(Bucket="signs", Key="old/sign", Body=b"")
            until_gone(s3, "signs", "old/sign")

    return a_round_goes_by


def test_objects_expire_on_the_side_that_writes_and_on_both_the_same(swift):
    lab = swift
    east, west = (lab.s3(system) for system in ("east", "west"))
    east.create_bucket(Bucket="versioned")
    east.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    buckets = (lab.bucket, "versioned")
    for bucket in buckets:
        expire(east, bucket)

    def write(s3, name):
        for bucket in buckets:
            for folder in ("old", "kept"):
                s3.put_object(Bucket=bucket, Key=f"{folder}/{name}", Body=b"x")

    def expired(*names):
        """On both systems the same is left: what was to be kept, and behind markers what had versions."""
        for bucket in buckets:
            for s3 in (east, west):
                for name in names:
                    until_gone(s3, bucket, f"old/{name}")
                eventually(lambda: expect(versions(s3, bucket) == versions(east, bucket)))
            left = versions(east, bucket)
            kept = [key for key, kind, latest, _ in left if kind == "version" and latest]
            assert kept == sorted(f"kept/{name}" for name in names), left
        hidden = [(key, kind, latest) for key, kind, latest, _ in versions(west, "versioned") if key.startswith("old/")]
        wanted = [(f"old/{name}", kind, kind == "marker") for name in sorted(names) for kind in ("marker", "version")]
        assert hidden == wanted, hidden

    write(east, "1")
    expired("1")
    lab.lab("kill", "east")
    lab.fail_over()
    # The rules came with the buckets.
    write(west, "2")
    for bucket in buckets:
        until_gone(west, bucket, "old/2")
    lab.lab("start", "east")
    lab.recover()
    expired("1", "2")
    write(east, "3")
    expired("1", "2", "3")
    report = lab.at("west", "link", "divergences", "acme")
    assert not report["divergences"], report


def test_a_primary_that_may_have_been_failed_over_lets_nothing_expire(swift):
    """Alone it does not know; when it does, it is read-only; and what it took meanwhile expires where clients write."""
    lab = swift
    east, west = (lab.s3(system) for system in ("east", "west"))
    a_round_goes_by = alone(lab, "east")
    expire(east, lab.bucket)
    lab.put("east", "old/1", b"x")
    for s3 in (east, west):
        until_gone(s3, lab.bucket, "old/1")
    lab.lab("cut")
    lab.fail_over()
    # A client of an old answer: east is writable, and has not heard.
    eventually(lambda: expect(not lab.link("east")["contact"]))

    def stays():
        # What moves data may notice a moment later than what watches the link.
        lab.put("east", "old/2", b"x")
        a_round_goes_by()
        expect("old/2" in lab.keys("east"))

    eventually(stays)
    lab.lab("heal")
    eventually(lambda: expect(lab.link("east")["epoch"] == 1))
    a_round_goes_by()
    assert "old/2" in lab.keys("east"), "read-only"
    lab.recover()
    for s3 in (east, west):
        until_gone(s3, lab.bucket, "old/2")
    lab.put("east", "old/3", b"x")
    for s3 in (east, west):
        until_gone(s3, lab.bucket, "old/3")


def counted(s3, bucket):
    """How many versions and how many markers each key has."""
    found = {}
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for place, kind in enumerate(("Versions", "DeleteMarkers")):
            for one in page.get(kind, []):
                found.setdefault(one["Key"], [0, 0])[place] += 1
    return found


def test_a_pass_that_is_killed_goes_on_and_hides_each_object_once(swift):
    """Every service of the system is killed in the middle, more than once."""
    lab = swift
    east, west = (lab.s3(system) for system in ("east", "west"))
    east.create_bucket(Bucket="versioned")
    east.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    old = [f"old/{number:04}" for number in range(2000)]
    kept = [f"kept/{number:02}" for number in range(50)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda key: east.put_object(Bucket="versioned", Key=key, Body=b"x"), old + kept))
    expire(east, "versioned")

    def left():
        pages = east.get_paginator("list_objects_v2").paginate(Bucket="versioned", Prefix="old/")
        return sum(page["KeyCount"] for page in pages)

    kills, before = 0, len(old)
    while kills < 2:
        eventually(lambda: expect(left() < before))
        lab.lab("kill", "east")
        lab.lab("start", "east")
        kills, before = kills + 1, left()
        assert before > 0, "it was not in the middle"
    eventually(lambda: expect(left() == 0))
    wanted = {key: [1, 1] for key in old} | {key: [1, 0] for key in kept}
    assert counted(east, "versioned") == wanted
    eventually(lambda: expect(counted(west, "versioned") == wanted))
    lab.wait_healthy()
