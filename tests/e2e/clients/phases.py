"""One process that lives through a failover, as a server that uses an SDK does.

It is told on its standard input what to do next, a word a line, and answers `done` or what went wrong,
in one line of JSON. Its SDK keeps its connections and whatever it knows of names in between.
"""

import json
import sys
import time
import traceback


def soon(check):
    """Connections that are still open to the old side are read from, and what they show is a little behind."""
    end = time.monotonic() + 30
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def live(phases):
    """Does what it is told until nobody says anything more."""
    for line in sys.stdin:
        try:
            phases[line.strip()]()
            answer = "done"
        except Exception:  # noqa: BLE001: whatever it is, the test prints it
            answer = traceback.format_exc()
        print(json.dumps(answer), flush=True)
