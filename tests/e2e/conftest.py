"""Fixtures of the end-to-end tests."""

import itertools
import os
import shutil
import tempfile

import matrix
import pytest

from lab import Lab

# Second byte of the loopback addresses: one for each lab of this run.
SUBNETS = itertools.count(int(os.environ.get("SWITCHBACK_TEST_SUBNET", "100")))


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
    if not os.environ.get("SWITCHBACK_TEST_KEEP"):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lab(make_lab):
    """Two systems that trust each other, a tenant with a bucket, and a link that is healthy."""
    lab = make_lab()
    lab.wait_healthy()
    return lab


def pytest_collection_finish(session):
    """Before anything can fail or hang: how to have the same cases again."""
    if any("test_matrix.py" in item.nodeid for item in session.items):
        session.config.get_terminal_writer().line(f"\n{matrix.described()}")
