"""What a link protects: directories, several contents at once; and what no link protects stays as it is."""

import json

from botocore.exceptions import ClientError

from lab import eventually, expect
from test_workflow import refused


def directory_clients(lab):
    """Clients of the directories on both systems, by one credential: `default` is on no link, so it is imported."""
    made = lab.at("east", "credential", "create", "--tenant", "default")
    keys = (made["access_key"], made["secret_key"])
    lab.at("west", "credential", "create", "--tenant", "default", "--access-key", keys[0], "--secret-key", keys[1])
    return {system: lab.s3(system, *keys) for system in ("east", "west")}


def put(client, bucket, key, body=b""):
    client.put_object(Bucket=bucket, Key=key, Body=body)


def same(clients, bucket, written):
    """Both systems hold exactly `written`."""
    for client in clients.values():
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
        expect(sorted(keys) == sorted(written), f"{keys}")
        for key, body in written.items():
            expect(client.get_object(Bucket=bucket, Key=key)["Body"].read() == body)


def turned_away(write, writer):
    """A client that is connected since this side wrote is told to connect again; it, and any other, then who writes."""
    meta, error = refused(write)
    if meta["HTTPStatusCode"] == 503:
        assert "connect again" in error["Message"], error
        meta, error = refused(write)
    assert meta["HTTPStatusCode"] == 403 and writer in error["Message"], error


def create_link(lab, name, *contents):
    peer = lab.system("east")["peer"]
    eventually(lambda: lab.at("east", "link", "create", name, "--peer", peer, "--dns-failover", *contents))
    wait_healthy(lab, name)


def wait_healthy(lab, name):
    def healthy():
        for system in ("east", "west"):
            link = lab.link(system, name)
            expect(link["healthy"], str(link))

    eventually(healthy, 40)


def return_home(lab, name):
    eventually(lambda: lab.at("west", "link", "recovery", "begin", name))
    eventually(lambda: lab.at("west", "link", "recovery", "complete", name))
    wait_healthy(lab, name)


def test_a_directory_goes_through_the_workflow_alone(lab):
    """Only the directory on the link changes sides; its neighbour and the lab's tenant do not."""
    for name in ("projects", "home"):
        lab.at("east", "directory", "create", name)
    clients = directory_clients(lab)
    written = {"plans/a": b"before the link"}
    put(clients["east"], "projects", "plans/a", written["plans/a"])
    few_rights_in_a_directory(lab)
    create_link(lab, "directories", "--directory", "projects")
    assert refused(lambda: put(clients["west"], "projects", "no"))[0]["HTTPStatusCode"] == 403
    written["plans/b"] = b"on the link"
    put(clients["east"], "projects", "plans/b", written["plans/b"])
    eventually(lambda: same(clients, "projects", written))
    before = answers(lab, "acme", "default")
    lab.at("west", "link", "fail-over", "directories")
    turned_away(lambda: put(clients["east"], "projects", "no"), "west.example.com")
    put(clients["east"], "home", "still/writable", b"h")
    lab.put("east", "still/writable", b"a")
    assert answers(lab, "acme", "default") == before, "only names of tenants that failed over move"
    written["plans/c"] = b"on the replica"
    put(clients["west"], "projects", "plans/c", written["plans/c"])
    clients["west"].delete_object(Bucket="projects", Key="plans/a")
    del written["plans/a"]
    return_home(lab, "directories")
    same(clients, "projects", written)
    put(clients["east"], "projects", "plans/d", b"home")
    turned_away(lambda: put(clients["west"], "projects", "no"), "east.example.com")
    home = lab.at("west", "directory", "list")["contents"]
    assert [content["name"] for content in home] == ["projects"], "a directory on no link is not replicated"


def few_rights_in_a_directory(lab):
    """A directory is a bucket to rights too."""
    made = lab.at("east", "credential", "create", "--tenant", "default", "--grant", "projects=read")
    few = lab.s3("east", made["access_key"], made["secret_key"])
    assert [bucket["Name"] for bucket in few.list_buckets()["Buckets"]] == ["projects"]
    assert few.get_object(Bucket="projects", Key="plans/a")["Body"].read()
    for call, words in [
        (lambda: put(few, "projects", "no"), "right to write in the bucket projects"),
        (lambda: few.list_objects_v2(Bucket="home"), "right to read in the bucket home"),
        (lambda: few.create_bucket(Bucket="fresh"), "right to administer in the bucket fresh"),
    ]:
        meta, error = refused(call)
        assert meta["HTTPStatusCode"] == 403 and words in error["Message"], error


def test_several_contents_of_one_link_fail_over_together_and_others_stay(lab):
    """Two tenants and a directory on one link; a third tenant and the lab's own are not on it."""
    for name in ("blue", "green", "alone"):
        lab.at("east", "tenant", "create", name)
        lab.at("east", "namespace", "create", "--tenant", name, f"{name}-bucket")
    lab.at("east", "directory", "create", "shared")
    create_link(lab, "three", "--tenant", "blue", "--tenant", "green", "--directory", "shared")
    clients = {"shared": directory_clients(lab)}
    for name in ("blue", "green", "alone"):
        made = lab.at("east", "credential", "create", "--tenant", name)
        keys = (made["access_key"], made["secret_key"])
        clients[name] = {system: lab.s3(system, *keys) for system in ("east", "west")}
    buckets = {"blue": "blue-bucket", "green": "green-bucket", "shared": "shared"}
    written = {name: {"before": name.encode()} for name in buckets}
    for name, bucket in buckets.items():
        put(clients[name]["east"], bucket, "before", name.encode())
    for name, bucket in buckets.items():
        eventually(lambda: unless_unknown(lambda: same(clients[name], bucket, written[name])))
    lab.at("west", "tenant", "create", "west-only")
    lab.at("west", "link", "fail-over", "three")
    east, west = ([lab.system(system)["address"]] for system in ("east", "west"))
    eventually(lambda: expect(answers(lab, "blue", "green") == [west] * 4, str(answers(lab, "blue", "green"))))
    assert answers(lab, "acme") == [east] * 2 and lab.answer("alone.east.example.com", "east") == east
    for name, bucket in buckets.items():
        refused(lambda: put(clients[name]["east"], bucket, "no"))
        put(clients[name]["west"], bucket, "after", b"on the replica")
        written[name]["after"] = b"on the replica"
    # What is on no link is read-write wherever it is.
    put(clients["alone"]["east"], "alone-bucket", "while the others are away", b"")
    lab.put("east", "while the others are away", b"")
    modes = {content["name"]: content["mode"] for content in lab.at("west", "tenant", "list")["contents"]}
    assert modes == {
        "acme": "read_only",
        "blue": "read_write",
        "default": "read_write",
        "green": "read_write",
        "west-only": "read_write",
    }
    return_home(lab, "three")
    eventually(lambda: expect(answers(lab, "blue", "green") == [east] * 4, str(answers(lab, "blue", "green"))))
    for name, bucket in buckets.items():
        same(clients[name], bucket, written[name])
        put(clients[name]["east"], bucket, "home", b"")


def answers(lab, *tenants):
    return [lab.answer(f"{tenant}.east.example.com", server) for tenant in tenants for server in ("east", "west")]


def unless_unknown(attempt):
    """The credential and the bucket are replicated like the objects are: not known at first."""
    try:
        return attempt()
    except ClientError as error:
        raise AssertionError(str(error)) from error


def test_what_is_set_of_a_bucket_goes_with_it(lab):
    """Rules for pages of other sites, on both systems through a failover and back."""
    clients = {system: lab.s3(system) for system in ("east", "west")}

    def put(system, origin):
        rule = {"AllowedOrigins": [origin], "AllowedMethods": ["GET"]}
        clients[system].put_bucket_cors(Bucket=lab.bucket, CORSConfiguration={"CORSRules": [rule]})

    def same(origin):
        for client in clients.values():
            rules = client.get_bucket_cors(Bucket=lab.bucket)["CORSRules"]
            expect([rule["AllowedOrigins"] for rule in rules] == [[origin]], str(rules))

    put("east", "https://one.example.org")
    eventually(lambda: same("https://one.example.org"))
    lab.fail_over()
    turned_away(lambda: put("east", "https://no.example.org"), "west.example.com")
    put("west", "https://two.example.org")
    lab.recover()
    eventually(lambda: same("https://two.example.org"))
    put("east", "https://three.example.org")
    eventually(lambda: same("https://three.example.org"))


def test_versions_and_delete_markers_go_with_their_bucket(lab):
    """Which versions there are, which is current and what each says, on both systems through a failover and back."""
    clients = {system: lab.s3(system) for system in ("east", "west")}

    def versions(client):
        page = client.list_object_versions(Bucket=lab.bucket, Prefix="v/")
        found = [(one["Key"], one["VersionId"], one["IsLatest"], one["LastModified"]) for one in page.get("Versions", [])]
        markers = [(one["Key"], one["VersionId"], one["IsLatest"]) for one in page.get("DeleteMarkers", [])]
        read = {}
        for key, version, *_ in found:
            where = {"Bucket": lab.bucket, "Key": key, "VersionId": version}
            read[key, version] = client.get_object(**where)["Body"].read(), client.get_object_tagging(**where)["TagSet"]
        return found, markers, read

    def same():
        east, west = (unless_unknown(lambda: versions(client)) for client in clients.values())
        expect(east == west, f"{east} {west}")
        return east

    def status(client, status=None):
        if status:
            client.put_bucket_versioning(Bucket=lab.bucket, VersioningConfiguration={"Status": status})
        return client.get_bucket_versioning(Bucket=lab.bucket).get("Status")

    def put(system, key, text):
        return clients[system].put_object(Bucket=lab.bucket, Key=key, Body=text)["VersionId"]

    clients["east"].put_object(Bucket=lab.bucket, Key="v/a", Body=b"before versioning")
    status(clients["east"], "Enabled")
    first = put("east", "v/a", b"first")
    large = put("east", "v/large", bytes(100_000))
    clients["east"].delete_object(Bucket=lab.bucket, Key="v/b")
    eventually(same)
    eventually(lambda: expect(status(clients["west"]) == "Enabled"))
    lab.fail_over()
    assert refused(lambda: put("east", "v/a", b"no"))[0]["HTTPStatusCode"] == 403
    second = put("west", "v/a", b"second")
    clients["west"].delete_object(Bucket=lab.bucket, Key="v/a")
    clients["west"].delete_object(Bucket=lab.bucket, Key="v/large", VersionId=large)
    tags = {"TagSet": [{"Key": "seen", "Value": "on the replica"}]}
    clients["west"].put_object_tagging(Bucket=lab.bucket, Key="v/a", VersionId=first, Tagging=tags)
    status(clients["west"], "Suspended")
    assert put("west", "v/c", b"null") == "null"
    written = versions(clients["west"])
    lab.recover()
    assert same() == written
    found, markers, read = written
    assert [(key, version) for key, version, *_ in found] == [
        ("v/a", second), ("v/a", first), ("v/a", "null"), ("v/c", "null"),
    ]
    assert [(key, latest) for key, _, latest in markers] == [("v/a", True), ("v/b", True)]
    assert read["v/a", first] == (b"first", tags["TagSet"])
    assert status(clients["east"]) == "Suspended"
    marker = next(version for key, version, _ in markers if key == "v/a")
    clients["east"].delete_object(Bucket=lab.bucket, Key="v/a", VersionId=marker)
    eventually(lambda: expect(same()[1] != markers))
    assert lab.read("west", "v/a") == b"second"
    assert lab.at("east", "link", "divergences", "acme")["divergences"] == []


def test_locks_hold_on_both_sides_through_a_failover_and_back(lab):
    """A retention, a hold and the bucket's default: enforced by whoever writes, never weaker than before."""
    bucket = "kept"
    clients = {system: lab.s3(system) for system in ("east", "west")}
    clients["east"].create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    clients["east"].put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)

    def put(system, key, **lock):
        version = clients[system].put_object(Bucket=bucket, Key=key, Body=b"kept", **lock)["VersionId"]
        return {"Bucket": bucket, "Key": key, "VersionId": version}

    def same(*versions):
        """What both say of the locks."""
        told = []
        for client in clients.values():
            expect(client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == configuration)
            heads = [client.head_object(**version) for version in versions]
            names = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")
            told.append([tuple(head.get(name) for name in names) for head in heads])
        expect(told[0] == told[1], str(told))
        return told[0]

    def is_kept(system, version):
        (meta, error) = refused(lambda: clients[system].delete_object(**version, BypassGovernanceRetention=True))
        assert meta["HTTPStatusCode"] == 403 and "locked" in error["Message"], error

    default, held = put("east", "default"), put("east", "held", ObjectLockLegalHoldStatus="ON")
    is_kept("east", default)
    eventually(lambda: unless_unknown(lambda: same(default, held)))
    lab.fail_over()
    for version in (default, held):
        is_kept("west", version)
    clients["west"].put_object_legal_hold(**default, LegalHold={"Status": "ON"})
    clients["west"].put_object_legal_hold(**held, LegalHold={"Status": "OFF"})
    late = put("west", "late")
    lab.recover()
    told = same(default, held, late)
    assert [(mode, hold) for mode, _, hold in told] == [("COMPLIANCE", "ON"), ("COMPLIANCE", None), ("COMPLIANCE", None)]
    for version in (default, held, late):
        is_kept("east", version)


def test_a_rebuilt_primary_gets_versions_markers_and_locks_back(lab):
    """By comparison with what it has, which is nothing; and what was deleted for good does not come back."""
    clients = {system: lab.s3(system) for system in ("east", "west")}
    where = {"Bucket": lab.bucket, "Key": "v"}
    clients["east"].put_bucket_versioning(Bucket=lab.bucket, VersioningConfiguration={"Status": "Enabled"})
    clients["east"].put_object_lock_configuration(
        Bucket=lab.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    ids = [clients["east"].put_object(**where, Body=b"%d" % number * 50_000)["VersionId"] for number in range(3)]
    clients["east"].put_object_legal_hold(**where, VersionId=ids[0], LegalHold={"Status": "ON"})
    clients["east"].delete_object(**where, VersionId=ids[1])

    def versions(client):
        page = client.list_object_versions(Bucket=lab.bucket)
        shown = lambda kind: [(one["Key"], one["VersionId"], one["IsLatest"]) for one in page.get(kind, [])]
        return shown("Versions"), shown("DeleteMarkers")

    def same():
        both = [unless_unknown(lambda: versions(client)) for client in clients.values()]
        expect(both[0] == both[1], str(both))
        return both[0]

    eventually(same)
    lab.lab("kill", "east")
    lab.fail_over()
    clients["west"].delete_object(**where)
    lab.lab("wipe", "east")
    lab.lab("start", "east")
    lab.exchange_certificates()
    eventually(lambda: lab.at("west", "link", "restore", "acme"))
    lab.recover()
    found, markers = same()
    assert [(version, latest) for _, version, latest in found] == [(ids[2], False), (ids[0], False)]
    assert [latest for *_, latest in markers] == [True]
    for number in (0, 2):
        body = clients["east"].get_object(**where, VersionId=ids[number])["Body"].read()
        assert body == b"%d" % number * 50_000
    assert refused(lambda: clients["east"].delete_object(**where, VersionId=ids[0]))[0]["HTTPStatusCode"] == 403
    clients["east"].delete_object(**where, VersionId=ids[2])


def test_rights_and_policies_hold_on_the_other_side(lab):
    """What a credential may do, and what a bucket's policy says, after a failover and back, changed on either side."""
    made = lab.at("east", "credential", "create", "--tenant", "acme", "--grant", f"{lab.bucket}=read")
    assert made["rights"] == f"{lab.bucket}=read", made
    keys = (made["access_key"], made["secret_key"])
    few = {system: lab.s3(system, *keys) for system in ("east", "west")}
    lab.put("east", "open/a", b"a")

    def granted(call, **arguments):
        eventually(lambda: unless_unknown(lambda: call(Bucket=lab.bucket, **arguments)))

    def denied(call, words, **arguments):
        def attempt():
            try:
                call(Bucket=lab.bucket, **arguments)
            except ClientError as error:
                code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
                return expect(code == "AccessDenied" and words in message, message)
            raise AssertionError("it was granted")

        eventually(attempt)

    def statement(effect, action):
        resource = f"arn:aws:s3:::{lab.bucket}/open/*"
        return {"Effect": effect, "Principal": {"AWS": keys[0]}, "Action": action, "Resource": resource}

    def set_policy(system, *statements):
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        lab.s3(system).put_bucket_policy(Bucket=lab.bucket, Policy=policy)
        return policy

    set_policy("east", statement("Allow", "s3:DeleteObject"))
    for system in ("east", "west"):
        granted(few[system].get_object, Key="open/a")
        assert lab.at(system, "credential", "list", "--tenant", "acme")["credentials"] != []
    lab.fail_over()
    denied(few["west"].put_object, "lacks the right to write", Key="open/b", Body=b"b")
    granted(few["west"].delete_object, Key="open/a")
    denied(few["west"].delete_object, "lacks the right to delete", Key="shut/a")
    # Both are changed where it is writable, and go home with it.
    lab.at("west", "credential", "set-rights", keys[0], "--tenant", "acme", "--grant", f"{lab.bucket}=write")
    policy = set_policy("west", statement("Deny", "s3:PutObject"))
    granted(few["west"].put_object, Key="shut/b", Body=b"b")
    denied(few["west"].put_object, "policy of the bucket denies", Key="open/b", Body=b"b")
    denied(few["west"].get_object, "lacks the right to read", Key="shut/b")
    lab.recover()
    granted(few["east"].put_object, Key="shut/c", Body=b"c")
    denied(few["east"].put_object, "policy of the bucket denies", Key="open/b", Body=b"b")
    for system in ("east", "west"):
        denied(few[system].get_object, "lacks the right to read", Key="shut/b")
        told = lab.at(system, "credential", "list", "--tenant", "acme")["credentials"]
        assert [entry["rights"] for entry in told if entry["access_key"] == keys[0]] == [f"{lab.bucket}=write"], told
        assert lab.s3(system).get_bucket_policy(Bucket=lab.bucket)["Policy"] == policy
