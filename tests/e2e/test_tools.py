"""Programs that people already have, on both sides of a failover.

All of them work on one lab at once: first on the primary, then, when it was killed, on the replica, then on
the primary again. Each is a test of its own; what another one did wrong is not its fault.
"""

import concurrent.futures
import os
import shutil
import tempfile
import time
import traceback
from pathlib import Path

import pytest
import tools
from conftest import SUBNETS

from lab import Lab, eventually, expect

# One lab serves all: one process has to run them.
pytestmark = pytest.mark.xdist_group("tools")

STAGES = ("before", "after", "home")


@pytest.fixture(scope="module")
def walk(request):
    """What each tool that was asked for had to say: nothing, why it was not run, or what went wrong at which stage."""
    asked = {item.callspec.params.get("kind") for item in request.session.items if hasattr(item, "callspec")}
    folder = Path(tempfile.mkdtemp(prefix="switchback-tools-"))
    lab = Lab(folder / "lab", next(SUBNETS) % 250 + 1)
    said, running = {}, []
    try:
        lab.wait_healthy()
        for kind in (kind for kind in tools.ALL if kind in asked):
            lacks = [need for need in kind.needs if not shutil.which(need) and not os.access(need, os.W_OK)]
            if lacks:
                said[kind] = ("skipped", f"there is no {' and no '.join(lacks)}")
            else:
                running.append(kind(lab, folder / kind.__name__.lower()))
        for stage in STAGES:
            move(lab, stage)
            with concurrent.futures.ThreadPoolExecutor(len(tools.ALL)) as pool:
                ended = list(pool.map(lambda tool: at(stage, tool), running))
            said |= {type(tool): ("failed", text) for tool, text in zip(running, ended) if text}
            running = [tool for tool in running if type(tool) not in said]
        yield said, lab
    finally:
        for tool in running:
            tool.close()
        lab.close()
        lab.check()
        if not os.environ.get("SWITCHBACK_TEST_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)


def move(lab, stage):
    """Brings the lab to where a stage begins."""
    if stage == "after":
        same(lab)
        lab.lab("kill", "east")
        lab.fail_over()
    elif stage == "home":
        lab.lab("start", "east")
        lab.recover()


def at(stage, tool):
    started = time.monotonic()
    try:
        getattr(tool, stage)()
    except Exception:  # noqa: BLE001: it is the tool's own test that fails, not the walk
        tool.close()
        return f"{stage}: {traceback.format_exc()}"
    print(f"{type(tool).__name__} {stage}: {time.monotonic() - started:.1f} s")
    return ""


def same(lab):
    """Both systems hold the same objects in every bucket."""

    def held(system):
        s3 = lab.s3(system)
        buckets = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
        pages = {name: s3.get_paginator("list_objects_v2").paginate(Bucket=name) for name in buckets}
        return {
            (name, entry["Key"]): (entry["ETag"], entry["Size"])
            for name, found in pages.items()
            for page in found
            for entry in page.get("Contents", [])
        }

    eventually(lambda: expect(held("east") == held("west"), "the systems differ"), 60)


@pytest.mark.parametrize("kind", tools.ALL, ids=lambda kind: kind.__name__)
def test_a_tool_goes_on_through_failover_and_failback(walk, kind):
    how, text = walk[0].get(kind, ("", ""))
    if how == "skipped":
        pytest.skip(text)
    assert not how, text


def test_both_systems_hold_the_same_at_the_end(walk):
    same(walk[1])
