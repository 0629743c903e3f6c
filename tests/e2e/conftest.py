"""Fixtures of the end-to-end tests."""

import itertools
import os
import shutil
import tempfile

import matrix
import pytest

from lab import Lab

# Which of the processes this is that share the tests between them (pytest-xdist), and how many they are.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

# Second byte of the loopback addresses: one for each lab of this run.
SUBNETS = itertools.count(int(os.environ.get("SWITCHBACK_TEST_SUBNET", "100")) + WORKER, WORKERS)


@pytest.fixture
def make_lab():
    """Makes labs, and ends them."""
    labs, folders = [], []

    def make(*options):
        folders.append(tempfile.mkdtemp(prefix="switchback-e2e-"))
        lab = Lab(f"{folders[-1]}/lab", next(SUBNETS) % 250 + 1, *options)
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        lab.close()
    # Whatever was done to them, what they hold is sound.
    for lab in labs:
        lab.check()
    if not os.environ.get("SWITCHBACK_TEST_KEEP"):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lab(make_lab):
    """Two systems that trust each other, a tenant with a bucket, and a link that is healthy."""
    lab = make_lab()
    lab.wait_healthy()
    return lab


def pytest_sessionstart(session):
    """Before anything can fail or hang: how to have the same cases again."""
    if not hasattr(session.config, "workerinput"):
        session.config.get_terminal_writer().line(f"\n{matrix.described()}")
