"""`switchback import` and object lock: what is locked at the source is locked here, and only ever more."""

import datetime
import json
import os
import subprocess
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from test_import import command, environment, moto, run  # noqa: F401
from test_import_versions import ENABLED, in_parts, listed, named, other, shared, versioned  # noqa: F401

# One pair of labs serves them all: one process has to run them.
pytestmark = pytest.mark.xdist_group("import-locks")

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def days(count):
    return NOW + datetime.timedelta(days=count)


def lockable(s3, bucket):
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    return bucket


@pytest.fixture
def target(shared, request):  # noqa: F811
    return lockable(shared.s3("east"), named(request))


@pytest.fixture
def source(other, request):  # noqa: F811
    """A client, a bucket of it that has object lock, and what the import needs to find it."""
    s3, at = other.s3("east"), other.system("east")["s3"]
    bucket = lockable(s3, named(request))
    return s3, bucket, (at["access_key"], at["secret_key"]), ["--source-endpoint", at["url"]]


def lock(s3, bucket, key, version):
    """Mode and end of the retention, and whether there is a hold."""
    head = s3.head_object(Bucket=bucket, Key=key, VersionId=version)
    retention = head.get("ObjectLockMode"), head.get("ObjectLockRetainUntilDate")
    return *retention, head.get("ObjectLockLegalHoldStatus") == "ON"


def locks(s3, bucket):
    """Of each key, those of its versions, the oldest first; `None` of a delete marker."""
    found = {}
    for entry, is_marker in reversed(listed(s3, bucket)):
        told = None if is_marker else lock(s3, bucket, entry["Key"], entry["VersionId"])
        found.setdefault(entry["Key"], []).append(told)
    return found


def versions(s3, bucket, key):
    """The ids of its versions, the oldest first."""
    return [entry["VersionId"] for entry, _ in reversed(listed(s3, bucket, key)) if entry["Key"] == key]


def retained(mode, count):
    return {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": days(count)}


HELD = {"ObjectLockLegalHoldStatus": "ON"}
SHORT = 3


def fill(s3, bucket):
    """Versions with locks of all kinds; how many of them have one, when this returns, that has not ended."""
    put = lambda **more: s3.put_object(Bucket=bucket, **more)
    put(Key="k", Body=b"1", **retained("GOVERNANCE", 10))
    put(Key="k", Body=b"2", **retained("COMPLIANCE", 20), **HELD)
    put(Key="k", Body=b"3")
    put(Key="k", Body=b"4", **HELD)
    s3.delete_object(Bucket=bucket, Key="k")
    put(Key="k", Body=b"5", **retained("COMPLIANCE", 1))
    parts = [os.urandom(5 << 20), os.urandom(5 << 20)]
    in_parts(s3, bucket, "parts", *parts, **retained("GOVERNANCE", 7), **HELD)
    put(Key="large in one", Body=os.urandom(9 << 20), **retained("COMPLIANCE", 7))
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=SHORT)
    put(Key="ended", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=soon)
    time.sleep(SHORT + 1)
    return 6


def wanted(s3, bucket):
    """As they must be here: a retention that has ended is none."""
    found = locks(s3, bucket)
    found["ended"] = [(None, None, False)]
    return found


def retain(s3, bucket, key, version, mode, until, **more):
    retention = {"Mode": mode, "RetainUntilDate": until}
    s3.put_object_retention(Bucket=bucket, Key=key, VersionId=version, Retention=retention, **more)


def hold(s3, bucket, key, version, status):
    s3.put_object_legal_hold(Bucket=bucket, Key=key, VersionId=version, LegalHold={"Status": status})


def forget(journal, key):
    """Takes out that the newest of a key has arrived."""
    lines = journal.read_bytes().splitlines(keepends=True)
    noted = [number for number, line in enumerate(lines) if f'"{key}"'.encode() in line and b'"held"' in line]
    del lines[noted[-1]]
    journal.write_bytes(b"".join(lines))


def test_locks_of_all_versions_come_and_grow_and_never_shrink(shared, target, source, tmp_path):  # noqa: F811
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    locked = fill(s3, bucket)
    go = lambda *more: run(lab, tmp_path, f"s3://{bucket}", target, *words, "--versions", *more, keys=keys)[0]
    done = go()
    assert (done["locks"], done["objects"], done["locked"], done["failed"]) == ("brought", 9, locked, 0), done
    assert locks(here, target) == wanted(s3, bucket)
    with pytest.raises(ClientError, match="AccessDenied"):
        here.delete_object(Bucket=target, Key="k", VersionId=versions(here, target, "k")[1])
    done = go()
    assert (done["unchanged"], done["objects"], done["strengthened"]) == (9, 0, 0), done
    # What arrived unnoted, as when it was killed, had the lock of then.
    forget(tmp_path / f"{target}.import", "large in one")
    retain(s3, bucket, "large in one", versions(s3, bucket, "large in one")[0], "COMPLIANCE", days(8))
    done = go()
    assert (done["objects"], done["bytes"], done["strengthened"]) == (1, 0, 1), done

    # Longer, held, and in the stricter mode.
    first, second, third, fourth, _, last = versions(s3, bucket, "k")
    retain(s3, bucket, "k", first, "GOVERNANCE", days(30))
    hold(s3, bucket, "k", third, "ON")
    in_governance = versions(s3, bucket, "parts")[0]
    retain(s3, bucket, "parts", in_governance, "COMPLIANCE", days(7), BypassGovernanceRetention=True)
    retain(s3, bucket, "k", last, "COMPLIANCE", days(2))
    s3.put_object(Bucket=bucket, Key="k", Body=b"6", **retained("GOVERNANCE", 3))
    done = go()
    assert (done["objects"], done["locked"], done["strengthened"]) == (1, 1, 4), done
    now = wanted(s3, bucket)
    assert locks(here, target) == now and now["parts"] == [("COMPLIANCE", days(7), True)]
    assert go()["strengthened"] == 0

    # What is weaker at the source stays as it is here.
    retain(s3, bucket, "k", first, "GOVERNANCE", days(1), BypassGovernanceRetention=True)
    hold(s3, bucket, "k", second, "OFF")
    hold(s3, bucket, "k", fourth, "OFF")
    assert go()["strengthened"] == 0 and locks(here, target) == now
    # And so does what a client of the tenant has set aside here.
    ours = versions(here, target, "k")
    retain(here, target, "k", ours[0], "GOVERNANCE", days(2), BypassGovernanceRetention=True)
    hold(here, target, "k", ours[3], "OFF")
    assert go()["strengthened"] == 0
    assert lock(here, target, "k", ours[0])[1] == days(2) and not lock(here, target, "k", ours[3])[2]
    # One that was lifted here and is set again, stronger, at the source comes again.
    retain(s3, bucket, "k", first, "GOVERNANCE", days(40))
    assert go()["strengthened"] == 1 and lock(here, target, "k", ours[0])[1] == days(40)


def refused(lab, tmp_path, keys, *words):
    done = subprocess.run(
        command(lab, tmp_path, *words), env=environment(lab, keys), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stdout
    return json.loads(done.stderr)["error"]["message"]


def test_locks_are_left_behind_only_when_asked_and_can_follow(shared, source, tmp_path, request):  # noqa: F811
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    target, words = versioned(here, named(request)), [*words, "--versions"]
    locked = fill(s3, bucket)
    for more in ([], ["--plan"]):
        said = refused(lab, tmp_path, keys, f"s3://{bucket}", target, *words, *more)
        assert "put-object-lock-configuration" in said and "--without-locks" in said, said
    assert not listed(here, target)
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, "--without-locks", keys=keys)
    assert (done["locks"], done["objects"]) == ("left_out", 9), done
    assert (done["unlocked"], done["locked"]) == (locked, 0), done
    here.put_object_lock_configuration(Bucket=target, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys)
    assert (done["objects"], done["strengthened"], done["failed"]) == (0, locked, 0), done
    assert locks(here, target) == wanted(s3, bucket)


def test_the_default_of_the_bucket_makes_no_lock_weaker(shared, target, source, tmp_path):  # noqa: F811
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 5}}
    here.put_object_lock_configuration(
        Bucket=target, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    s3.put_object(Bucket=bucket, Key="own", Body=b"1", **retained("GOVERNANCE", 1))
    s3.put_object(Bucket=bucket, Key="none", Body=b"1")
    go = lambda: run(lab, tmp_path, f"s3://{bucket}", target, *words, "--versions", keys=keys)[0]
    go()
    found = locks(here, target)
    assert found["own"] == [("GOVERNANCE", days(1), False)] and found["none"][0][0] == "COMPLIANCE"
    retain(s3, bucket, "none", versions(s3, bucket, "none")[0], "GOVERNANCE", days(50))
    assert go()["strengthened"] == 1
    assert locks(here, target)["none"] == [("COMPLIANCE", days(50), False)]


def test_the_lock_of_the_current_version_comes_with_it(shared, target, source, tmp_path):  # noqa: F811
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    locked = fill(s3, bucket)
    go = lambda: run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys)[0]
    done = go()
    assert (done["locks"], done["objects"], done["locked"], done["failed"]) == ("brought", 4, 3, 0), done
    assert done["locked"] < locked
    now = locks(here, target)
    assert now == {key: found[-1:] for key, found in wanted(s3, bucket).items()}
    done = go()
    assert (done["unchanged"], done["strengthened"]) == (4, 0), done
    forget(tmp_path / f"{target}.import", "parts")
    in_governance = versions(s3, bucket, "parts")[0]
    retain(s3, bucket, "parts", in_governance, "GOVERNANCE", days(8))
    done = go()
    assert (done["objects"], done["strengthened"]) == (1, 1), done
    assert locks(here, target)["parts"] == [("GOVERNANCE", days(8), True)]
    # What arrived is no longer current: it is locked all the same, and what the tenant wrote is not.
    here.put_object(Bucket=target, Key="k", Body=b"the tenant's own")
    newest = versions(s3, bucket, "k")[-1]
    retain(s3, bucket, "k", newest, "COMPLIANCE", days(9))
    hold(s3, bucket, "k", newest, "ON")
    done = go()
    assert (done["objects"], done["strengthened"], done["failed"]) == (0, 1, 0), done
    assert locks(here, target)["k"] == [("COMPLIANCE", days(9), True), (None, None, False)]


def test_who_may_not_read_or_set_locks_is_told_what_is_missing(shared, target, source, tmp_path, other):  # noqa: F811
    lab, (s3, bucket, keys, words) = shared, source
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", **HELD)
    words = [f"s3://{bucket}", target, *words]
    for action, resource in (("s3:GetBucketObjectLockConfiguration", ""), ("s3:GetObjectLegalHold", "/*")):
        denied = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{bucket}{resource}"}
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
        time.sleep(1.5)  # A gateway believes what it knows of a policy for a second.
        said = refused(lab, tmp_path, keys, *words)
        assert "s3:GetObjectLegalHold" in said and "--without-locks" in said, said
    s3.delete_bucket_policy(Bucket=bucket)
    time.sleep(1.5)
    grant = f"{target}=read,write"
    made = lab.at("east", "credential", "create", "--tenant", "acme", "--grant", grant)
    plain = {"SWITCHBACK_ACCESS_KEY": made["access_key"], "SWITCHBACK_SECRET_KEY": made["secret_key"]}
    done = subprocess.run(
        command(lab, tmp_path, *words), env=environment(lab, keys) | plain, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "the right to administer" in done.stderr, done.stderr


def test_locks_of_a_foreign_store_come_too(shared, target, tmp_path, moto):  # noqa: F811
    lab, keys, here = shared, ("testing", "testing"), shared.s3("east")
    config = Config(s3={"addressing_style": "path"})
    at = {"endpoint_url": moto, "aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]}
    s3 = boto3.client("s3", region_name="us-east-1", config=config, **at)
    lockable(s3, "foreign")
    s3.put_object(Bucket="foreign", Key="k", Body=b"1", **retained("GOVERNANCE", 10))
    s3.put_object(Bucket="foreign", Key="k", Body=b"2", **retained("COMPLIANCE", 20), **HELD)
    s3.put_object(Bucket="foreign", Key="k", Body=b"3")
    words = ["--versions", "--source-endpoint", moto]
    done, _ = run(lab, tmp_path, "s3://foreign", target, *words, keys=keys)
    assert (done["locks"], done["objects"], done["locked"]) == ("brought", 3, 2), done
    assert locks(here, target) == locks(s3, "foreign")
    first, _, third = versions(s3, "foreign", "k")
    retain(s3, "foreign", "k", first, "GOVERNANCE", days(15))
    hold(s3, "foreign", "k", third, "ON")
    done, _ = run(lab, tmp_path, "s3://foreign", target, *words, keys=keys)
    assert (done["objects"], done["strengthened"]) == (0, 2), done
    assert locks(here, target) == locks(s3, "foreign")
    # One without object lock is imported as before, whatever the bucket has.
    s3.create_bucket(Bucket="plain")
    s3.put_object(Bucket="plain", Key="p", Body=b"1")
    (tmp_path / "plain").mkdir()
    done, _ = run(lab, tmp_path / "plain", "s3://plain", target, "--source-endpoint", moto, keys=keys)
    assert (done["locks"], done["objects"], done["failed"]) == ("none", 1, 0), done
