"""Storage that goes bad under running systems: rotten and lost bytes, a full disk, a folder that is not there, a slow line."""

import os
import shutil
import subprocess
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from lab import eventually, expect
from test_workflow import both_sides_hold

# Too large for the catalogue, so it is a file.
SIZE = 200_000
# Of a file, so many bytes have a checksum behind them.
PIECE = 256 << 10


def blob(lab, system, body):
    """The file that holds these bytes."""
    first = body[:PIECE]
    for folder, _, names in os.walk(f"{lab.system(system)['data_dir']}/blobs"):
        for name in names:
            path = f"{folder}/{name}"
            with open(path, "rb") as file:
                if file.read(len(first)) == first:
                    return path
    raise AssertionError(f"{system} has no such blob")


def flip(path):
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def truncate(path):
    os.truncate(path, SIZE // 2)


def scrub(lab, system, *options):
    return lab.at(system, "store", "scrub", *options)


def put_files(lab, names):
    written = {name: os.urandom(SIZE) for name in names}
    for name, body in written.items():
        lab.put("east", name, body)
    eventually(lambda: expect(set(written) <= set(lab.keys("west"))))
    lab.wait_healthy()
    return written


def troubles(lab, system):
    return " ".join(lab.link(system)["troubles"])


def test_what_rots_on_either_side_is_repaired_from_the_other(lab):
    """Flipped, cut and lost files on both sides; on the replica, which clients only read, too."""
    written = put_files(lab, [f"rot/{number}" for number in range(8)])
    harm = {"east": [flip, truncate, os.unlink], "west": [flip, truncate, os.unlink]}
    keys = iter(sorted(written))
    for system, ways in harm.items():
        for way in ways:
            way(blob(lab, system, written[next(keys)]))
    before = {system: scrub(lab, system)["repaired"] for system in harm}
    for system, ways in harm.items():
        assert scrub(lab, system, "--now")["bytes_per_second"] == 16 << 20

        def repaired(system=system, ways=ways):
            seen = scrub(lab, system)
            expect(seen["repaired"] == before[system] + len(ways), str(seen))
            expect(seen["round"] is None and seen["last"]["damaged"] == len(ways), str(seen))
            expect(seen["waiting"] == seen["unrepairable"] == 0, str(seen))
            expect({damage["state"] for damage in seen["damages"]} == {"repaired"}, str(seen))

        eventually(repaired)
    lab.wait_healthy()
    for system in harm:
        eventually(lambda system=system: expect({"damage-found", "damage-repaired"} <= set(lab.log(system))))
        for key, body in written.items():
            assert lab.read(system, key) == body, f"{system}: {key}"
        assert "no other copy" not in lab.run("--config", f"{lab.dir}/{system}/switchback.toml", "store", "scrub")


def test_a_client_never_takes_damaged_bytes_for_sound_ones_and_heals_them_by_reading(lab):
    written = put_files(lab, ["small", "lost", "read in part"])
    large = os.urandom(3 << 20)
    lab.put("east", "large", large)
    eventually(lambda: expect("large" in lab.keys("west")))
    written["large"] = large
    for key in ("small", "large", "read in part"):
        flip(blob(lab, "west", written[key]))
    os.unlink(blob(lab, "west", written["lost"]))
    for key, body in written.items():
        # The damage is at the end.
        part = {"Range": "bytes=-100"} if key == "read in part" else {}
        # The first answer may come after the repair that another request began.
        try:
            answer = lab.s3("west").get_object(Bucket=lab.bucket, Key=key, **part)
            assert answer["Body"].read() == (body[-100:] if part else body)
        except (ClientError, BotoCoreError):
            pass
        eventually(lambda key=key, body=body: whole(lab, key, body))
    assert scrub(lab, "west")["repaired"] == 4


def whole(lab, key, body):
    try:
        found = lab.read("west", key)
    except (ClientError, BotoCoreError) as error:
        raise AssertionError(str(error)) from error
    assert found == body, "damaged bytes were given as sound ones"


def test_no_object_is_made_of_a_damaged_part(lab):
    """A part of an open upload is on one system only: the client is told, and uploads it again."""
    s3, where = lab.s3("east"), {"Bucket": lab.bucket, "Key": "parts"}
    where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
    bodies = {1: os.urandom(5 << 20), 2: os.urandom(SIZE)}

    def upload(number):
        etag = s3.upload_part(**where, PartNumber=number, Body=bodies[number])["ETag"]
        return {"PartNumber": number, "ETag": etag}

    parts = {"Parts": [upload(1), upload(2)]}
    flip(blob(lab, "east", bodies[2]))
    scrub(lab, "east", "--now")

    def listed():
        damages = [damage for damage in scrub(lab, "east")["damages"] if damage["upload"] == where["UploadId"]]
        expect([(damage["state"], damage["part"]) for damage in damages] == [("unrepairable", 2)], str(damages))
        expect("upload part 2" in damages[0]["reason"], str(damages))

    eventually(listed)
    with pytest.raises(ClientError) as refused:
        s3.complete_multipart_upload(**where, MultipartUpload=parts)
    assert refused.value.response["Error"]["Code"] == "InvalidPart", refused.value
    assert "parts" not in lab.keys("east")
    upload(2)
    s3.complete_multipart_upload(**where, MultipartUpload=parts)
    eventually(lambda: expect(scrub(lab, "east")["unrepairable"] == 0))
    for system in ("east", "west"):
        eventually(lambda system=system: expect("parts" in lab.keys(system)))
        assert lab.read(system, "parts") == bodies[1] + bodies[2]
    lab.wait_healthy()


def test_a_replica_without_room_keeps_the_flow_waiting_and_loses_nothing(make_lab, tmp_path):
    lab = make_lab()
    lab.wait_healthy()
    lab.lab("kill", "west")
    data = lab.system("west")["data_dir"]
    keep = tmp_path / "data"
    subprocess.run(["cp", "-a", data, keep], check=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", data], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        subprocess.run(["cp", "-a", f"{keep}/.", data], check=True)
        os.chmod(data, 0o700)
        lab.lab("start", "west")
        lab.wait_healthy()
        written = {f"fill/{number}": os.urandom(4 << 20) for number in range(40)}
        for key, body in written.items():
            lab.put("east", key, body)
        eventually(lambda: expect("storage is full" in troubles(lab, "east"), troubles(lab, "east")))
        shown = lab.link("east")
        assert shown["contact"] and shown["mode"] == "read_write" and not shown["healthy"], shown
        # The writer goes on: what it takes waits.
        lab.put("east", "meanwhile", b"m")
        subprocess.run(["mount", "-o", "remount,size=600m", data], check=True)
        lab.wait_healthy(90)
        both_sides_hold(lab, {**written, "meanwhile": b"m"})
        for key in ("fill/0", "fill/39"):
            assert lab.read("west", key) == written[key]
        lab.lab("kill", "west")
        shutil.rmtree(keep)
        subprocess.run(["cp", "-a", data, keep], check=True)
    finally:
        lab.lab("down")
        subprocess.run(["umount", "-l", data], check=True)
    # So that what it held then is looked at in the end.
    shutil.rmtree(data)
    subprocess.run(["cp", "-a", keep, data], check=True)


def test_a_folder_that_is_not_there_is_said_and_nothing_is_concluded_from_it(lab):
    """As a file system of the blobs that is not mounted: an empty folder in its place."""
    written = put_files(lab, ["before"])
    blobs = f"{lab.system('west')['data_dir']}/blobs"
    os.rename(blobs, f"{blobs}.away")
    os.mkdir(blobs)
    eventually(lambda: expect("mount its file system" in troubles(lab, "west"), troubles(lab, "west")))
    eventually(lambda: expect("storage-gone" in lab.log("west")))
    with pytest.raises(ClientError) as caught:
        lab.read("west", "before")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    scrub(lab, "west", "--now")
    eventually(lambda: expect("mount its file system" in scrub(lab, "west")["trouble"]))
    assert scrub(lab, "west")["found"] == 0
    written["while away"] = os.urandom(SIZE)
    lab.put("east", "while away", written["while away"])
    # A sweep comes every ten seconds.
    swept = time.monotonic() + 11
    eventually(lambda: expect("mount its file system" in troubles(lab, "east"), troubles(lab, "east")))
    eventually(lambda: expect(time.monotonic() > swept))
    shutil.rmtree(blobs)
    os.rename(f"{blobs}.away", blobs)
    lab.wait_healthy()
    for key, body in written.items():
        assert lab.read("west", key) == body
    assert scrub(lab, "west")["found"] == 0
    eventually(lambda: expect("storage-back" in lab.log("west")))


def test_a_slow_line_costs_time_and_nothing_else(lab):
    lab.lab("slow", "--rate", "500KB/s", "--latency", "100ms")
    body = os.urandom(3 << 20)
    lab.put("east", "large", body)
    lab.put("east", "small", b"s")
    shown = eventually(lambda: pending(lab))
    assert shown["contact"] and shown["mode"] == "read_write" and shown["epoch"] == 0, shown
    lab.wait_healthy(60)
    assert lab.read("west", "large") == body and lab.read("west", "small") == b"s"
    assert lab.link("west")["epoch"] == 0


def pending(lab):
    shown = lab.link("east")
    expect(shown["sending"]["pending_objects"] > 0, str(shown))
    return shown
