"""A sample of crash points and failing calls in every run of the tests; `run` strikes them all.

The tracer is tried on a program of a few lines, and the rules on what they must find: so a sample in which nothing is
found is not one that could find nothing.
"""

import json
import os
import pathlib
import random
import subprocess
import sys

import points
import pytest
import rules

HERE = pathlib.Path(__file__).resolve().parent
# Commits, an operator's command on every service, and a service's start.
STEPS = ("put-small", "put-blob", "fail-over", "start-west-link-manager")
SAMPLE = 14

WRITER = """
import os, sys
file = os.open(sys.argv[1] + "/db", os.O_CREAT | os.O_WRONLY)
os.write(file, b"one")
try:
    os.fsync(file)
except OSError as error:
    os.write(file, b"failed: %d" % error.errno)
os.write(file, b"two")
os.rename(sys.argv[1] + "/db", sys.argv[1] + "/there")
"""


def traced(folder, number, strike):
    """What the tracer says of the writer, and what the writer leaves behind."""
    command = [sys.executable, str(HERE / "tracer.py"), "--number", str(number), "--strike", strike]
    command += ["--spawn", "writer", f"{folder}/", f"{folder}/log", f"{folder}/log", "--"]
    command += [sys.executable, "-c", WRITER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"nothing can be watched (ptrace needs root): {done.stderr}"
    said = [json.loads(line) for line in done.stdout.splitlines()]
    files = {name: (folder / name).read_text() for name in ("db", "there") if (folder / name).exists()}
    return [line for line in said if "call" in line], files


def test_every_call_that_changes_files_is_a_point(tmp_path):
    calls, files = traced(tmp_path, 0, "none")
    assert [call["name"] for call in calls] == ["openat", "write", "fsync", "write", "rename"]
    assert [call["call"] for call in calls] == [1, 2, 3, 4, 5]
    assert files == {"there": "onetwo"}


@pytest.mark.parametrize(
    ("number", "strike", "left"),
    [
        (1, "before", {}),
        (1, "after", {"db": ""}),
        (4, "before", {"db": "one"}),
        (4, "after", {"db": "onetwo"}),
        (5, "before", {"db": "onetwo"}),
        (5, "after", {"there": "onetwo"}),
    ],
)
def test_a_kill_is_just_before_or_just_after_its_call(tmp_path, number, strike, left):
    assert traced(tmp_path, number, strike)[1] == left


def test_a_call_that_is_to_fail_does_nothing_and_says_why(tmp_path):
    calls, files = traced(tmp_path, 3, "EIO")
    assert files == {"there": "onefailed: 5two"}
    assert [call["result"] for call in calls if call["struck"]] == [-5]
    (tmp_path / "there").unlink()
    assert traced(tmp_path, 4, "ENOSPC")[1] == {"db": "one"}


STRUCK = {"on": "data/data-mover/catalogue/0.jnl", "name": "fsync", "at": 10.0, "by": "EIO"}
FOLDER = {**STRUCK, "on": "data/blobs/00"}
BLOB = {**STRUCK, "on": "data/blobs/00/some#1"}


class Attempt:
    """A client's write on west, that began before the failure."""

    def __init__(self, end, acknowledged):
        self.system, self.key, self.start, self.end, self.acknowledged = "west", "a/key", 9.0, end, acknowledged


@pytest.mark.parametrize(
    ("words", "struck", "again", "gone", "attempts", "service"),
    [
        ("acknowledged although the store's fsync", STRUCK, [], [11.0], [Attempt(10.5, True)], "data-mover"),
        ("the process goes on", STRUCK, ["fsync"], [], [], "data-mover"),
        ("it ends only", STRUCK, [], [40.0], [], "data-mover"),
        ("failed, and then", BLOB, ["fsync"], [], [], "gateway"),
        ("failed, and then", BLOB, ["rename"], [], [], "gateway"),
        ("of its blob failed", BLOB, [], [], [Attempt(10.5, True)], "gateway"),
        ("of its blob failed", FOLDER, ["fsync"], [], [Attempt(10.5, True)], "gateway"),
        # Refused; acknowledged by who has started again; given up.
        (None, STRUCK, [], [11.0], [Attempt(10.5, False), Attempt(12.0, True)], "data-mover"),
        (None, BLOB, [], [], [Attempt(10.5, False)], "gateway"),
        (None, FOLDER, ["fsync"], [], [Attempt(10.5, False)], "gateway"),
    ],
)
def test_a_rule_that_is_broken_is_named(words, struck, again, gone, attempts, service):
    calls = [{"name": name, "on": struck["on"], "began": 10.1} for name in again]
    found = rules.broken(struck, calls, [{"at": at} for at in gone], attempts, f"west/{service}")
    assert (words in found) if words else found is None


@pytest.mark.parametrize(
    ("texts", "is_broken"),
    [(["a/key"], True), (["other", "a/key"], True), (["a/key", "other"], False), (["other"], True), ([], True), ([None], True)],
)
def test_an_acknowledgment_rests_on_the_commit_that_carries_its_key(texts, is_broken):
    calls = [{"name": "write", "on": STRUCK["on"], "began": 9.1 + at / 10, "text": text} for at, text in enumerate(texts)]
    found = rules.broken(STRUCK, calls, [{"at": 11.0}], [Attempt(10.5, True)], "west/data-mover")
    assert bool(found) == is_broken


def test_a_point_is_found_again_by_its_name():
    for sockets in (False, True):
        point = {"step": "put-small", "place": "east/gateway", "number": 7, "strike": "EIO", "call": "write"}
        point["sockets"] = sockets
        assert points.parse(points.name(point)) == point


def test_a_sample_of_points_holds(tmp_path):
    seed = os.environ.get("SWITCHBACK_CRASH_SEED") or str(random.SystemRandom().randrange(1_000_000))
    print(f"crash points of seed {seed}; the same sample again: SWITCHBACK_CRASH_SEED={seed}")
    command = [sys.executable, str(HERE / "run"), "--out", str(tmp_path), "--sample", str(SAMPLE), "--seed", seed]
    for step in STEPS:
        command += ["--step", step]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
    outcomes = [result["outcome"] for result in points.results(tmp_path).values()]
    assert len(outcomes) == SAMPLE and outcomes.count("held") > SAMPLE / 2, f"hardly any point was reached\n{done.stdout}"
