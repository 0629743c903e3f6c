"""Stock clients, unchanged: boto3, rclone, dig."""

import html
import http.client
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lab import SWITCHBACK, eventually, expect

TESTS = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_stock_boto3_finds_the_s3_it_expects(lab, addressing):
    s3 = lab.system("east")["s3"]
    words = ["--access-key", s3["access_key"], "--secret-key", s3["secret_key"], "--region", s3["region"]]
    few = lab.at("east", "credential", "create", "--tenant", "acme", "--grant", "conformance-*=read")
    words += ["--few-access-key", few["access_key"], "--few-secret-key", few["secret_key"]]
    if addressing == "path":
        words += ["--endpoint", s3["url"], "--addressing", "path"]
    else:
        words += ["--endpoint", s3["tenant_url"], "--addressing", "virtual", "--connect", lab.system("east")["address"]]
    done = subprocess.run(
        [sys.executable, str(TESTS / "s3" / "conformance.py"), *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lab.wait_healthy()


def test_a_name_of_no_tenant_is_refused_in_clear_words(lab):
    """Whoever signs it, and whatever name is used: never an answer that tells of nothing but a failure."""
    s3 = lab.system("east")["s3"]
    keys, stranger = (s3["access_key"], s3["secret_key"]), ("AKIDOFNOBODYATALL000", "x" * 40)
    expected = {keys: ("AccessDenied", "another tenant's"), None: ("AccessDenied", "sign the request")}
    expected[stranger] = ("InvalidAccessKeyId", "does not exist")
    for system in ("east", "west"):
        for host in ("nobody.east.example.com", "photos.nobody.east.example.com", "photos.nobody.west.example.com"):
            for signer, (code, words) in expected.items():
                status, text = asked(lab, system, host, signer)
                assert status == 403 and f"<Code>{code}</Code>" in text and words in text, text
        status, text = asked(lab, system, "nothing.acme.east.example.com", keys)
        assert status == 404 and "<Code>NoSuchBucket</Code>" in text, text
        assert asked(lab, system, "photos.acme.east.example.com", keys)[0] == 200


def asked(lab, system, host, keys):
    """The answer to a listing at `host`: its status and its text."""
    address, port = lab.system(system)["s3"]["url"].removeprefix("http://").split(":")
    request = AWSRequest(method="GET", url=f"http://{host}:{port}/")
    if keys:
        S3SigV4Auth(Credentials(*keys), "s3", lab.system("east")["s3"]["region"]).add_auth(request)
    connection = http.client.HTTPConnection(address, int(port), timeout=10)
    connection.request("GET", "/", headers={**dict(request.headers), "Host": f"{host}:{port}"})
    answer = connection.getresponse()
    return answer.status, html.unescape(answer.read().decode())


FILES = 3000


def test_rclone_syncs_thousands_of_files_through_the_name_that_moves(lab, tmp_path):
    """While the primary is killed, and while recovery completes, with the lab's DNS as the only resolver."""
    source, environment = tmp_path / "source", rclone_environment(lab, tmp_path)
    for number in range(FILES):
        write_file(source, number, f"content of file {number}\n" * (number % 50 + 1))

    def rclone(*words):
        command = [SWITCHBACK, "lab", "exec", "--dir", lab.dir, "--", "rclone", *words]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def sync():
        faster = ["--transfers", "16", "--checkers", "32"]
        return rclone("sync", "--checksum", *faster, str(source), f"lab:{lab.bucket}/tree")

    def ended_well(process):
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err[-3000:]

    def count(system):
        return len(lab.keys(system, "tree/"))

    first = sync()
    eventually(lambda: expect(count("west") > FILES // 6), 60)
    lab.lab("kill", "east")
    assert first.poll() is None, "the sync ended before the primary was killed"
    lab.fail_over()
    # It may have run out of its own retries; what matters is that the same command can be repeated.
    _, err = first.communicate(timeout=240)
    print(f"the sync that lost its primary ended with {first.returncode}: {err[-300:]}")
    ended_well(sync())
    assert count("west") == FILES
    lab.lab("start", "east")
    eventually(lambda: lab.at("west", "link", "recovery", "begin", "acme"))
    for number in range(FILES // 4):
        write_file(source, number, f"written again during recovery {number}\n")
    write_file(source, FILES, "added during recovery\n")
    file_path(source, FILES - 1).unlink()
    before = lab.keys("west", "tree/")
    riding = sync()
    eventually(lambda: expect(len(set(lab.keys("west", "tree/").items()) - set(before.items())) > FILES // 40), 60)
    eventually(lambda: lab.at("west", "link", "recovery", "complete", "acme"))
    assert riding.poll() is None, "the sync ended before completion began"
    ended_well(riding)
    lab.wait_healthy()
    write_file(source, 2, "written on the primary again\n")
    ended_well(sync())
    ended_well(rclone("check", "--download", "--checkers", "32", str(source), f"lab:{lab.bucket}/tree"))
    assert lab.keys("east", "tree/") == eventually(lambda: same(lab))


def file_path(source, number):
    return source / f"folder-{number % 7}" / f"file-{number}.txt"


def write_file(source, number, text):
    path = file_path(source, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def rclone_environment(lab, folder):
    """Settings of this machine for other clouds are not part of the test."""
    s3 = lab.system("east")["s3"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
    return dict(
        plain,
        RCLONE_CONFIG_LAB_TYPE="s3",
        RCLONE_CONFIG_LAB_PROVIDER="Other",
        RCLONE_CONFIG_LAB_ENDPOINT=s3["tenant_url"],
        RCLONE_CONFIG_LAB_REGION=s3["region"],
        RCLONE_CONFIG_LAB_ACCESS_KEY_ID=s3["access_key"],
        RCLONE_CONFIG_LAB_SECRET_ACCESS_KEY=s3["secret_key"],
        RCLONE_CONFIG_LAB_FORCE_PATH_STYLE="true",
        RCLONE_CONFIG=str(folder / "rclone.conf"),
    )


def same(lab):
    east, west = lab.keys("east", "tree/"), lab.keys("west", "tree/")
    expect(east == west)
    return west


WRITER = textwrap.dedent(
    """
    import sys, time, boto3
    endpoint, region, access, secret, bucket, seconds = sys.argv[1:]
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name=region, aws_access_key_id=access, aws_secret_access_key=secret)
    end, number = time.time() + float(seconds), 0
    while time.time() < end:
        key = f"stream/{number}"
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=b"%d" % number)
            print(key, flush=True)
        except Exception as error:
            print("failed", type(error).__name__, file=sys.stderr, flush=True)
        number += 1
        time.sleep(0.02)
    """
)


def test_a_stock_boto3_writer_rides_through_the_whole_workflow(lab):
    """Stock settings, the moving name, writes all the time: every acknowledged one is there."""
    s3 = lab.system("east")["s3"]
    words = [s3["tenant_url"], s3["region"], s3["access_key"], s3["secret_key"], lab.bucket, "25"]
    command = [SWITCHBACK, "lab", "exec", "--dir", lab.dir, "--", sys.executable, "-c", WRITER, *words]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: expect(len(lab.keys("west", "stream/")) > 10))
        lab.lab("kill", "east")
        lab.fail_over()
        eventually(lambda: expect(lab.link("west")["mode"] == "read_write"))
        before = len(lab.keys("west", "stream/"))
        eventually(lambda: expect(len(lab.keys("west", "stream/")) > before + 10))
        lab.lab("start", "east")
        lab.recover()
        before = len(lab.keys("east", "stream/"))
        eventually(lambda: expect(len(lab.keys("east", "stream/")) > before + 10))
    finally:
        out, err = writer.communicate(timeout=90)
    acknowledged = out.split()
    lab.wait_healthy()
    for system in ("east", "west"):
        missing = set(acknowledged) - set(lab.keys(system, "stream/"))
        assert not missing, f"{system} lost {sorted(missing)[:5]} of {len(acknowledged)}"
    print(f"{len(acknowledged)} acknowledged, {err.count('failed')} refused")


def test_a_full_disk_is_refused_and_nothing_acknowledged_is_lost(make_lab, tmp_path):
    """The primary's data on a small tmpfs: writes are refused, not acknowledged and lost."""
    lab = make_lab()
    lab.wait_healthy()
    lab.lab("kill", "east")
    data = lab.system("east")["data_dir"]
    keep = tmp_path / "data"
    subprocess.run(["cp", "-a", data, keep], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", data], check=True)
    try:
        subprocess.run(["cp", "-a", f"{keep}/.", data], check=True)
        os.chmod(data, 0o700)
        lab.lab("start", "east")
        eventually(lambda: expect(lab.link("east")["mode"] == "read_write"))
        acknowledged, refusals = [], 0
        for number in range(40):
            try:
                lab.put("east", f"filler/{number}", b"f" * (4 << 20))
                acknowledged.append(f"filler/{number}")
            except Exception as error:  # noqa: BLE001: whatever the client says, it is not a success
                refusals += 1
                assert "InsufficientStorage" in str(error) or "507" in str(error) or "full" in str(error), error
        assert refusals and acknowledged
        assert set(acknowledged) <= set(lab.keys("east", "filler/"))
        lab.s3("east").delete_object(Bucket=lab.bucket, Key=acknowledged[0])
    finally:
        lab.lab("down")
        subprocess.run(["umount", "-l", data], check=True)
