"""`switchback import --versions`: every version and delete marker, in order, once, whenever the import is killed."""

import json
import os
import random
import signal
import subprocess
import time

import boto3
import pytest
from botocore.config import Config

from between import Between
from conftest import SUBNETS
from lab import Lab, eventually, expect
from test_import import KEPT, command, environment, moto, run, sha256  # noqa: F401
from test_keys import HOSTILE

# One lab serves them all: one process has to run them.
pytestmark = pytest.mark.xdist_group("import-versions")

ENABLED, SUSPENDED = {"Status": "Enabled"}, {"Status": "Suspended"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The lab that is imported into."""
    lab = Lab(tmp_path_factory.mktemp("versions") / "lab", next(SUBNETS) % 250 + 1)
    lab.wait_healthy()
    yield lab
    lab.close()
    lab.check()


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The lab that is imported from."""
    lab = Lab(tmp_path_factory.mktemp("versions") / "other", next(SUBNETS) % 250 + 1)
    lab.wait_healthy()
    yield lab
    lab.close()


def named(request):
    return request.node.name.replace("_", "-")[:40].strip("-")


@pytest.fixture
def target(shared, request):
    return versioned(shared.s3("east"), named(request))


@pytest.fixture
def source(other, request):
    """A client, a versioned bucket of it, and what the import needs to find it."""
    s3, at = other.s3("east"), other.system("east")["s3"]
    bucket = versioned(s3, named(request))
    return s3, bucket, (at["access_key"], at["secret_key"]), ["--versions", "--source-endpoint", at["url"]]


def versioned(s3, bucket, state=ENABLED):
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=state)
    return bucket


def in_parts(s3, bucket, key, *bodies, **described):
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **described)["UploadId"]
    etags = [
        s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)["ETag"]
        for number, body in enumerate(bodies, 1)
    ]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def listed(s3, bucket, prefix="", page_size=1):
    """All versions and markers, of a key the newest first: by pages of one, since boto3 parts the two kinds."""
    entries, after = [], {}
    while True:
        page = s3.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=page_size, **after)
        entries += [(entry, False) for entry in page.get("Versions", [])]
        entries += [(entry, True) for entry in page.get("DeleteMarkers", [])]
        if not page["IsTruncated"]:
            return entries
        after = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}


def history(s3, bucket, prefix="", page_size=1):
    """Key to its versions, the newest first, as a client can tell them; their ids and times left out."""
    histories = {}
    for entry, is_marker in listed(s3, bucket, prefix, page_size):
        at = {"Bucket": bucket, "Key": entry["Key"], "VersionId": entry["VersionId"]}
        told = {"latest": entry["IsLatest"], "marker": is_marker}
        if not is_marker:
            got = s3.get_object(**at)
            told |= {name: got.get(name) for name in (*KEPT, "ExpiresString", "ETag")}
            told |= {"bytes": sha256(got["Body"].read()), "size": entry["Size"]}
            told["tags"] = sorted(map(str, s3.get_object_tagging(**at)["TagSet"]))
        histories.setdefault(entry["Key"], []).append(told)
    for versions in histories.values():
        assert [told["latest"] for told in versions] == [True] + [False] * (len(versions) - 1)
    return histories


def same(here, target, s3, bucket):
    ours, theirs = history(here, target), history(s3, bucket)
    assert ours.keys() == theirs.keys()
    for told in (*ours.get("large in one", []), *theirs.get("large in one", [])):
        del told["ETag"]
    for key, versions in theirs.items():
        assert ours[key] == versions, key
    return sum(map(len, theirs.values()))


def fill(s3, bucket):
    """Histories of all kinds, some of them from before versioning was on and while it was suspended."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=SUSPENDED)
    s3.put_object(Bucket=bucket, Key="null first", Body=b"null")
    s3.put_object(Bucket=bucket, Key="null last", Body=b"replaced")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=ENABLED)
    for key in HOSTILE:
        s3.put_object(Bucket=bucket, Key=key, Body=b"of " + key.encode())
    for key in HOSTILE[::3]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"again " + key.encode())
    for key in HOSTILE[::3]:
        s3.delete_object(Bucket=bucket, Key=key)
    for key in HOSTILE[::6]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"back")
    for number in range(3):
        # Bytes that are the same are versions all the same.
        s3.put_object(
            Bucket=bucket,
            Key="described",
            Body=b"x" * 1000,
            ContentType="image/svg+xml",
            CacheControl=f"max-age={number}",
            ContentDisposition='attachment; filename="a.svg"',
            ContentEncoding="br",
            ContentLanguage="de",
            Expires=2_000_000_000,
            Metadata={"number": str(number)},
            Tagging=f"site=east&note=a%20b%26{number}",
        )
    for _ in range(2):
        s3.delete_object(Bucket=bucket, Key="described")
    s3.delete_object(Bucket=bucket, Key="never was")
    in_parts(s3, bucket, "parts", os.urandom(6 << 20), os.urandom(6 << 20), b"the end", Metadata={"made": "in parts"})
    s3.delete_object(Bucket=bucket, Key="parts")
    in_parts(s3, bucket, "parts", os.urandom(5 << 20), os.urandom(5 << 20), Tagging="a=b")
    s3.put_object(Bucket=bucket, Key="parts", Body=os.urandom(5 << 20))
    # Brought in parts, so that its ETag is another one.
    s3.put_object(Bucket=bucket, Key="large in one", Body=os.urandom((20 << 20) + 3))
    s3.put_object(Bucket=bucket, Key="null first", Body=b"second")
    s3.put_object(Bucket=bucket, Key="null last", Body=b"first")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=SUSPENDED)
    s3.put_object(Bucket=bucket, Key="null last", Body=b"second")
    s3.put_object(Bucket=bucket, Key="null marker", Body=b"is replaced by a marker")
    s3.delete_object(Bucket=bucket, Key="null marker")


def test_all_versions_come_in_their_order_and_later_what_is_new(shared, target, source, tmp_path):
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    fill(s3, bucket)
    total = len(listed(s3, bucket))
    planned, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, "--plan", keys=keys)
    assert (planned["due_objects"], planned["objects"]) == (total, 0) and not listed(here, target)
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys)
    assert (done["versions"], done["listed"], done["objects"], done["failed"]) == (True, total, total, 0), done
    assert same(here, target, s3, bucket) == total
    # The journal tells which version is which.
    lines = [json.loads(line) for line in (tmp_path / f"{target}.import").read_text().split("\n")[1:-1]]
    told = {(line["key"], line["version"]): line["here"] for line in lines if "here" in line}
    pairs = zip(listed(s3, bucket), listed(here, target))
    assert told == {(there["Key"], there["VersionId"]): ours["VersionId"] for (there, _), (ours, _) in pairs}
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys)
    assert (done["unchanged"], done["objects"], done["bytes"], done["gone"]) == (total, 0, 0, 0), done

    # One is new; of null ones there is one, so that another takes its place; and one that was deleted is so no more.
    s3.put_object(Bucket=bucket, Key="null last", Body=b"third")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=ENABLED)
    s3.put_object(Bucket=bucket, Key="described", Body=b"y" * 1000)
    for key in ("never was", HOSTILE[0], HOSTILE[3]):
        s3.put_object(Bucket=bucket, Key=key, Body=b"new")
    # Old ones are expired, one is deleted for good with all its versions, one of its delete marker.
    first = [entry["VersionId"] for entry, _ in listed(s3, bucket, "described")][-1]
    s3.delete_object(Bucket=bucket, Key="described", VersionId=first)
    for entry, _ in listed(s3, bucket, "parts"):
        s3.delete_object(Bucket=bucket, Key="parts", VersionId=entry["VersionId"])
    undeleted = listed(s3, bucket, "null marker")[0][0]
    s3.delete_object(Bucket=bucket, Key="null marker", VersionId=undeleted["VersionId"])
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys)
    assert (done["objects"], done["bytes"], done["deleted"], done["gone"]) == (5, 1000 + 5 + 9, 0, 7), done
    assert len(history(here, target)["parts"]) == 4, "nothing is deleted that was not asked for"
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, "--delete", keys=keys)
    assert (done["objects"], done["deleted"], done["gone"]) == (0, 7, 0), done
    same(here, target, s3, bucket)
    brought = [(entry["Key"], entry["VersionId"], is_marker) for entry, is_marker in listed(here, target)]
    west = lab.s3("west")
    eventually(lambda: expect([(at["Key"], at["VersionId"], marked) for at, marked in listed(west, target)] == brought), 60)


@pytest.fixture
def short_pages(monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "100")


def test_a_listing_of_a_foreign_store_is_read_page_by_page(shared, target, tmp_path, short_pages, moto):  # noqa: F811
    lab, keys, here = shared, ("testing", "testing"), shared.s3("east")
    config = Config(s3={"addressing_style": "path"})
    at = {"endpoint_url": moto, "aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]}
    s3 = boto3.client("s3", region_name="us-east-1", config=config, **at)
    versioned(s3, "many")
    # More than a page has, of one key.
    for number in range(250):
        s3.put_object(Bucket="many", Key="in/many", Body=b"%d" % number, Metadata={"number": str(number)})
    in_parts(s3, "many", "in/parts", os.urandom(6 << 20), os.urandom(6 << 20), b"the end", Tagging="a=b")
    s3.put_object(Bucket="many", Key="out", Body=b"")
    words = ["--versions", "--source-endpoint", moto, "--prefix", "from/"]
    done, _ = run(lab, tmp_path, "s3://many/in/", target, *words, keys=keys)
    assert (done["listed"], done["objects"]) == (251, 251), done
    theirs = history(s3, "many", "in/", page_size=1000)
    assert history(here, target, page_size=1000) == {f"from/{key}": versions for key, versions in theirs.items()}
    s3.put_object(Bucket="many", Key="in/many", Body=b"one more")
    done, _ = run(lab, tmp_path, "s3://many/in/", target, *words, keys=keys)
    assert (done["objects"], done["unchanged"]) == (1, 251), done
    # It tells whole seconds, and delete markers apart: which of them is newer has to be asked for.
    versioned(s3, "marked")
    for number in range(60):
        key = f"{number % 6}"
        if number // 6 in (3, 4, 9):
            s3.delete_object(Bucket="marked", Key=key)
        else:
            s3.put_object(Bucket="marked", Key=key, Body=b"%d" % number, Tagging="a=b")
        time.sleep(0.002)  # What it stores within a millisecond, it lists in the wrong order.
    marked = versioned(here, "marked")
    done, _ = run(lab, tmp_path, "s3://marked", marked, *words[:3], keys=keys)
    assert done["objects"] == 60, done
    assert history(here, marked) == history(s3, "marked")


def cut(journal, count):
    """Takes the last bytes away, as a machine that dies may; but none from before the last flush."""
    text = journal.read_bytes()
    lines = text.splitlines(keepends=True)
    flushed = max(number for number, line in enumerate(lines) if b'"here"' not in line) + 1
    journal.write_bytes(text[: max(len(b"".join(lines[:flushed])), len(text) - count)])


def test_an_import_that_is_killed_at_any_moment_brings_each_version_once(shared, target, source, tmp_path):
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    seed = int(os.environ.get("SWITCHBACK_IMPORT_SEED", random.randrange(1 << 32)))
    print(f"SWITCHBACK_IMPORT_SEED={seed}")
    chance = random.Random(seed)
    for number in range(200):
        key = f"key-{chance.randrange(12)}"
        if chance.random() < 0.25:
            s3.delete_object(Bucket=bucket, Key=key)
        else:
            # Often the same bytes as before, which no ETag tells apart.
            body = chance.choice([b"same", b"other", b"%d" % number])
            s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"number": str(number)})
    for _ in range(3):
        # The parts are not all of one size, so that the ETag is not kept: what arrives is known by another one.
        in_parts(s3, bucket, "uneven", os.urandom(5 << 20), os.urandom(6 << 20), b"the end")
    journal, kills = tmp_path / f"{target}.import", 0
    words = command(lab, tmp_path, f"s3://{bucket}", target, *words, "--parallel", "4")
    while True:
        with open(tmp_path / "said", "wb") as said:
            process = subprocess.Popen(words, env=environment(lab, keys), stdout=subprocess.DEVNULL, stderr=said)
        # Later and later, so that it ends on a slow machine too.
        time.sleep(chance.uniform(0.05, 0.3 + kills / 20))
        ended = process.poll()
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        if ended is not None:
            assert ended == 0, (tmp_path / "said").read_text()
            break
        kills += 1
        if journal.exists() and chance.random() < 0.5:
            cut(journal, chance.randrange(700))
    done = json.loads(subprocess.run(words, env=environment(lab, keys), capture_output=True, timeout=60).stdout)
    assert (done["objects"], done["unchanged"], done["gone"]) == (0, 203, 0), done
    ours, theirs = history(here, target), history(s3, bucket)
    for told in (*ours["uneven"], *theirs["uneven"]):
        del told["ETag"]
    assert ours == theirs, f"after {kills} kills"
    assert kills > 0, "it was never killed in the middle"
    assert not here.list_multipart_uploads(Bucket=target).get("Uploads", [])[kills:]


def test_what_the_tenant_wrote_itself_is_left_alone_and_named(shared, target, source, tmp_path):
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    names = ["mine", "written", "deleted", "removed", "tidied", "free"]
    for name in names:
        for body in (b"1", b"2"):
            s3.put_object(Bucket=bucket, Key=name, Body=body)
    s3.delete_object(Bucket=bucket, Key="tidied")
    here.put_object(Bucket=target, Key="mine", Body=b"the tenant's own")
    done, said = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys, fails=True)
    assert (done["objects"], done["failed"], done["waiting"]) == (11, 1, 1), done
    assert done["failures"][0]["key"] == "mine" and "--overwrite" in done["failures"][0]["reason"]
    assert listed(s3, bucket, "mine")[-1][0]["VersionId"] == done["failures"][0]["version"]
    here.put_object(Bucket=target, Key="written", Body=b"later")
    here.delete_object(Bucket=target, Key="deleted")
    # The newest for good; and, as a lifecycle does, the old ones and then the delete marker that stands alone.
    at = {"Bucket": target, "Key": "removed"}
    here.delete_object(**at, VersionId=listed(here, target, "removed")[0][0]["VersionId"])
    for entry, _ in reversed(listed(here, target, "tidied")):
        here.delete_object(Bucket=target, Key="tidied", VersionId=entry["VersionId"])
    # An old one, as a lifecycle does too.
    here.delete_object(Bucket=target, Key="free", VersionId=listed(here, target, "free")[1][0]["VersionId"])
    before = history(here, target)
    for name in names[1:]:
        s3.put_object(Bucket=bucket, Key=name, Body=b"3")
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys, fails=True)
    assert {failure["key"] for failure in done["failures"]} == {"mine", "written", "deleted", "removed"}, done
    assert (done["objects"], done["failed"], done["waiting"]) == (2, 4, 1), done
    after = history(here, target)
    for name in ("mine", "written", "deleted", "removed"):
        assert after[name] == before[name], name
    assert [told["size"] for told in after["tidied"]] == [1] and len(after["free"]) == 2
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, "--overwrite", keys=keys)
    assert (done["objects"], done["failed"]) == (5, 0), done
    after = history(here, target)
    for name, theirs in history(s3, bucket).items():
        assert after[name][0]["bytes"] == theirs[0]["bytes"], name
    # What was the tenant's own stands beneath.
    assert after["mine"][2]["bytes"] == sha256(b"the tenant's own") and len(after["mine"]) == 3
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys)
    assert (done["objects"], done["unchanged"]) == (0, 18), done


def test_a_version_that_cannot_be_read_holds_back_those_after_it(shared, target, source, tmp_path, other):
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    for number in range(2):
        s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % number)
    made = other.at("east", "credential", "create", "--tenant", "acme", "--grant", f"{bucket}=read")
    reader = (made["access_key"], made["secret_key"])
    run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=reader)
    for number in range(2, 5):
        s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % number)
    s3.put_object(Bucket=bucket, Key="l", Body=b"l")
    denied = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObjectVersion",
        "Resource": f"arn:aws:s3:::{bucket}/k",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
    time.sleep(1.5)  # A gateway believes what it knows of a policy for a second.
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=reader, fails=True)
    assert (done["objects"], done["failed"], done["waiting"], done["unchanged"]) == (1, 1, 2, 2), done
    third = listed(s3, bucket, "k")[2][0]["VersionId"]
    assert (done["failures"][0]["key"], done["failures"][0]["version"]) == ("k", third)
    s3.delete_bucket_policy(Bucket=bucket)
    time.sleep(1.5)
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=reader)
    assert (done["objects"], done["failed"], done["waiting"]) == (3, 0, 0), done
    same(here, target, s3, bucket)


@pytest.fixture
def between(source):
    """What stands between the import and the source; the import's words name it."""
    _, bucket, _, words = source
    between = Between(words[-1], bucket)
    words[-1] = between.url
    yield between
    between.close()


def put(s3, bucket, key, *bodies):
    """The ids of the versions."""
    return [s3.put_object(Bucket=bucket, Key=key, Body=body)["VersionId"] for body in bodies]


def bodies(s3, bucket, key):
    """Of its versions, the oldest first; `None` of a delete marker."""
    found = []
    for entry, is_marker in reversed(listed(s3, bucket, key)):
        at = {"Bucket": bucket, "Key": key, "VersionId": entry["VersionId"]}
        found.append(None if is_marker else s3.get_object(**at)["Body"].read())
    return found


def unreadable():
    return 404, "NoSuchVersion"


def test_a_version_that_goes_before_it_is_read_holds_back_nothing(shared, target, source, tmp_path, between):
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    ids = {key: put(s3, bucket, key, b"1", b"2", b"3") for key in ("first", "middle", "newest", "all")}
    large = os.urandom(9 << 20)
    ids["large"] = put(s3, bucket, "large", large, b"small")
    ids["null"] = put(s3, bucket, "null", b"1")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=SUSPENDED)
    s3.put_object(Bucket=bucket, Key="null", Body=b"replaced")
    goes = [("first", 0), ("middle", 1), ("newest", 2), ("all", 0), ("all", 1), ("all", 2), ("large", 0)]
    for key, number in goes:
        at = (key, ids[key][number])
        between.meddling[at] = lambda at=at: s3.delete_object(Bucket=bucket, Key=at[0], VersionId=at[1]) and None
    # Another one takes its place, which comes next time.
    between.meddling["null", "null"] = lambda: s3.put_object(Bucket=bucket, Key="null", Body=b"another") and None
    done, said = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys)
    assert (done["objects"], done["vanished"], done["failed"], done["waiting"]) == (8, 8, 0, 0), (done, said)
    between.meddling.clear()
    done, _ = run(lab, tmp_path, f"s3://{bucket}", target, *words, keys=keys)
    assert (done["objects"], done["vanished"], done["gone"]) == (1, 0, 0), done
    same(here, target, s3, bucket)


def test_a_version_that_is_never_given_is_left_out_when_that_is_asked_for(shared, target, source, tmp_path, between):
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    ids = put(s3, bucket, "k", b"1", b"2", b"3", b"4")
    tail = put(s3, bucket, "tail", b"1", b"2")
    put(s3, bucket, "well", b"1")
    go = lambda *more, **how: run(lab, tmp_path, f"s3://{bucket}", target, *words, *more, keys=keys, **how)
    between.meddling["k", ids[1]] = unreadable
    between.meddling["tail", tail[1]] = lambda: (403, "AccessDenied")
    done, said = go(fails=True)
    assert (done["objects"], done["failed"], done["unreadable"], done["waiting"]) == (3, 2, 2, 2), done
    assert {(at["key"], at["version"]) for at in done["failures"]} == {("k", ids[1]), ("tail", tail[1])}
    assert "--skip-unreadable" in said and bodies(here, target, "k") == [b"1"]

    done, _ = go("--skip-unreadable")
    assert (done["objects"], done["failed"], done["skipped"], done["waiting"]) == (2, 0, 2, 0), done
    assert {(at["key"], at["version"]) for at in done["skips"]} == {("k", ids[1]), ("tail", tail[1])}
    assert bodies(here, target, "k") == [b"1", b"3", b"4"] and bodies(here, target, "tail") == [b"1"]
    # It is told again, and holds back nothing any more.
    put(s3, bucket, "k", b"5")
    done, said = go()
    assert (done["objects"], done["unchanged"], done["skipped"], done["failed"]) == (1, 5, 2, 0), done
    assert "NoSuchVersion" in said and "AccessDenied" in said
    planned, _ = go("--plan")
    assert planned["due_objects"] == 0
    # What was written behind it and is not in the journal is known again.
    journal = tmp_path / f"{target}.import"
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b'"skipped"' in line and ids[1].encode() in line)
    journal.write_bytes(b"".join(line for number, line in enumerate(lines) if number <= last or b'"skipped"' in line))
    done, _ = go()
    assert (done["objects"], done["skipped"], done["failed"]) == (3, 2, 0), done
    assert bodies(here, target, "k") == [b"1", b"3", b"4", b"5"]

    # One that nothing has taken the place of comes in when it can be read, the other one cannot any more.
    between.meddling.clear()
    done, _ = go()
    assert (done["objects"], done["skipped"]) == (1, 1) and done["skips"][0]["version"] == ids[1], done
    assert bodies(here, target, "tail") == [b"1", b"2"]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=ids[1])
    done, _ = go()
    assert (done["objects"], done["skipped"], done["gone"]) == (0, 0, 0), done
    same(here, target, s3, bucket)


def test_an_outage_of_the_source_leaves_nothing_more_out(shared, target, source, tmp_path, between):
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    for number in range(110):
        version = put(s3, bucket, f"key-{number:03}", b"%d" % number)[0]
        between.meddling[f"key-{number:03}", version] = lambda: (403, "AccessDenied")
    go = lambda *more, **how: run(lab, tmp_path, f"s3://{bucket}", target, *words, *more, keys=keys, **how)[0]
    done = go("--skip-unreadable", fails=True)
    assert (done["skipped"], done["failed"], done["unreadable"]) == (100, 10, 0), done
    assert "100 versions in a row" in done["failures"][0]["reason"]
    between.meddling.clear()
    done = go()
    assert (done["objects"], done["skipped"], done["failed"]) == (110, 0, 0), done
    same(here, target, s3, bucket)


def test_what_keeps_no_versions_is_refused_with_what_to_do(shared, source, tmp_path, request):
    lab, here, (s3, bucket, keys, words) = shared, shared.s3("east"), source
    plain = named(request)
    here.create_bucket(Bucket=plain)

    def refused(*words):
        done = subprocess.run(words, env=environment(lab, keys), capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, done.stdout
        return json.loads(done.stderr)["error"]["message"]

    said = refused(*command(lab, tmp_path, f"s3://{bucket}", plain, *words))
    assert "put-bucket-versioning" in said and plain in said
    here.put_bucket_versioning(Bucket=plain, VersioningConfiguration=SUSPENDED)
    assert "put-bucket-versioning" in refused(*command(lab, tmp_path, f"s3://{bucket}", plain, *words))
    s3.create_bucket(Bucket="unversioned")
    assert "leave --versions out" in refused(*command(lab, tmp_path, "s3://unversioned", plain, *words))
    assert "leave --versions out" in refused(*command(lab, tmp_path, tmp_path, plain, "--versions"))
    # One journal is of objects or of versions.
    here.put_bucket_versioning(Bucket=plain, VersioningConfiguration=ENABLED)
    run(lab, tmp_path, f"s3://{bucket}", plain, *words[1:], keys=keys)
    assert "another bucket" in refused(*command(lab, tmp_path, f"s3://{bucket}", plain, *words))
