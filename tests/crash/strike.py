"""Strikes at one point and says what came of it."""

import itertools
import os
import shutil
import socket
import subprocess
import time
import traceback

from bed import PATIENCE, Bed
from lab import SWITCHBACK
from points import KILLS
from rules import broken
from steps import STARTS, STEPS
from watch import Start, Watch

# After so many points a lab is replaced, so that a failure is not old.
POINTS_OF_A_BED = 150

# Seconds; watched, on a busy machine.
STARTS_WITHIN = 15


class Beds:
    """The lab in use; a new one after a failure, whose folder is kept."""

    def __init__(self, out, subnet):
        self.out, self.subnet, self.numbers = os.path.abspath(out), subnet, itertools.count(1)
        self.now, self.folder, self.used = None, None, 0

    def bed(self):
        if self.used >= POINTS_OF_A_BED:
            self.end(keep=False)
        if not self.now:
            self.folder, self.used = f"{self.out}/lab-{os.getpid()}-{next(self.numbers)}", 0
            self.now = Bed(self.folder, self.subnet)
        self.used += 1
        return self.now

    def end(self, keep):
        """Also of a lab that has not come up."""
        if self.folder and os.path.isdir(self.folder):
            subprocess.run([SWITCHBACK, "lab", "down", "--dir", self.folder], capture_output=True, timeout=90, check=False)
            if not keep:
                shutil.rmtree(self.folder, ignore_errors=True)
        self.now, self.folder, self.used = None, None, 0


def walk(bed, step, places, number=0, how="none", sockets=False):
    """One walk of a step; the watch tells what was seen."""
    if step in STARTS:
        # Something new on its disk, or there is little to do when it starts.
        for _ in STEPS["certificate" if "certificate" in places[0] else "fail-over"](bed):
            pass
        bed.wait_healthy(PATIENCE)
        with Start(bed, places, number, how, sockets) as watch:
            end = time.monotonic() + STARTS_WITHIN
            while not watch.gone and not answers(bed, places[0]) and time.monotonic() < end:
                time.sleep(0.02)
            # What a service does at once after it is ready belongs to its start.
            time.sleep(0.1)
    else:
        walked = STEPS[step](bed)
        next(walked)
        with Watch(bed, places, number, how, sockets) as watch:
            next(walked)
        next(walked, None)
    bed.check()
    return watch


def answers(bed, place):
    """Its listener is there."""
    system, service = place.split("/")
    host, port = bed.system(system)["services"][service]["grpc"].rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def strike(beds, point):
    """The outcome of a point: held, failed, or unreached, when this walk made fewer calls than the first."""
    began, watch, why = time.monotonic(), None, None
    place, how = point["place"], point["strike"]
    try:
        bed = beds.bed()
        first = len(bed.attempts)
        watch = walk(bed, point["step"], [place], point["number"], how, point["sockets"])
        if watch.struck and how in KILLS:
            why = f"ended {len(watch.gone)} times" if len(watch.gone) != 1 else None
        elif watch.struck:
            why = broken(watch.struck, watch.calls, watch.gone, bed.attempts[first:], place)
    except Exception as error:  # noqa: BLE001 - any trouble is the result of this point
        why = f"{error}\n{''.join(traceback.format_exception(error)[-3:])}"
    result = {"outcome": "held" if watch and watch.struck else "unreached"}
    if why:
        result = {"outcome": "failed", "why": f"{why}\nlab kept in {beds.folder}"}
        beds.end(keep=True)
    if watch and watch.struck:
        result |= {"struck": watch.struck, "ended": len(watch.gone)}
    return result | {"seconds": round(time.monotonic() - began, 2)}
