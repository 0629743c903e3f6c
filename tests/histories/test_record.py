"""A short history of two real systems in every run of the tests; `run` records long ones."""

import os
import pathlib
import random
import subprocess
import sys

SECONDS = 25


def test_a_recorded_history_shows_every_property(tmp_path):
    seed = os.environ.get("SWITCHBACK_HISTORY_SEED") or str(random.SystemRandom().randrange(1_000_000))
    print(f"history of seed {seed}; the same operator again: SWITCHBACK_HISTORY_SEED={seed}")
    command = [sys.executable, str(pathlib.Path(__file__).with_name("run")), "--minutes", str(SECONDS / 60)]
    command += ["--seed", seed, "--clients", "2", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
