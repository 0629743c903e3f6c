"""One watched stretch of a step: the tracer runs beside it, and what dies is started again, as its supervisor would."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

from points import KILLS
from rules import ENDS_WITHIN, ends

TRACER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tracer.py")
SERVICES = ["data-mover", "link-manager", "dns-broadcaster", "certificate-service", "gateway"]
EVERYBODY = [f"{system}/{service}" for system in ("east", "west") for service in SERVICES]


class Watch:
    """Watches `places` ("west/data-mover"), and strikes at a call of theirs; a context."""

    def __init__(self, lab, places, number=0, strike="none", sockets=False):
        self.lab, self.places = lab, places
        self.arguments = ["--number", str(number), "--strike", strike, *(["--sockets"] if sockets else [])]
        self.calls, self.struck, self.gone, self.trouble, self.is_over = [], None, [], [], False

    def __enter__(self):
        described = self.lab.described["systems"]
        for place in self.places:
            system, service = place.split("/")
            folder = described[system]["dir"]
            pid = described[system]["services"][service]["pid"]
            if pid == 0:  # A destroyed system has none.
                continue
            self.arguments += ["--watch", str(pid), place, f"{folder}/", described[system]["log_dir"]]
        self.begin()
        return self

    def begin(self):
        # A session of its own: a terminal's interrupt is for us, who then end it.
        self.complaint = tempfile.TemporaryFile("w+")
        command = [sys.executable, TRACER, *self.arguments]
        self.tracer = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.complaint, text=True, start_new_session=True
        )
        first = self.tracer.stdout.readline()
        if not first:
            raise RuntimeError(f"nothing can be watched (ptrace needs root): {self.complained()}")
        self.reader = threading.Thread(target=self.read, args=[first], daemon=True)
        self.reader.start()

    def read(self, first):
        for line in itertools.chain([first], self.tracer.stdout):
            said = json.loads(line)
            if "call" in said:
                self.calls.append(said)
            elif "struck" in said:
                self.struck = said
            elif "gone" in said:
                self.revive(said)
        if not self.is_over and self.tracer.wait() != 0:
            self.trouble.append(f"the tracer ended: {self.complained()}")

    def complained(self):
        self.complaint.seek(0)
        return self.complaint.read().strip()[-1500:]

    def revive(self, said):
        system, service = said["gone"].split("/")
        self.gone.append(said)
        try:
            # Its pid may still be seen for a moment; `start` would take that for a service that runs.
            self.lab.lab("kill", system, service)
            self.lab.lab("start", system, service)
        except Exception as error:  # noqa: BLE001 - whatever it is, the point has failed by it
            self.trouble.append(f"{said['gone']} does not start again: {error}")

    def __exit__(self, kind, *_):
        """Who has been struck so that it must end is awaited, for it may drain first; not by who is in a hurry."""
        end = time.monotonic() + ENDS_WITHIN
        hurry = kind and not issubclass(kind, Exception)
        while not hurry and self.struck and ends(self.struck) and not self.gone and time.monotonic() < end:
            time.sleep(0.01)
        self.is_over = True
        self.leave()
        self.reader.join()
        self.tracer.wait()
        self.complaint.close()
        if not hurry and self.struck and self.struck["by"] in KILLS and not self.gone:
            # A thread in the middle of a flush ends with it, and a busy disk takes its time.
            self.revive({"gone": self.places[0], "at": time.time()})
        # Rather than what came of it.
        if self.trouble and not hurry:
            raise AssertionError("; ".join(self.trouble))

    def leave(self):
        self.tracer.terminate()


class Start(Watch):
    """Watches one service from its first instruction on, after it was killed."""

    def __enter__(self):
        (place,) = self.places
        system, service = place.split("/")
        described = self.lab.described["systems"][system]
        self.lab.lab("kill", system, service)
        log = f"{described['log_dir']}/{service}.log"
        self.arguments += ["--spawn", place, f"{described['dir']}/", described["log_dir"], log]
        self.arguments += ["--", self.lab.program, "service", service, "--config", described["config"]]
        self.begin()
        return self

    def leave(self):
        """What still runs is not the lab's: it goes, which is no end of its own, and the lab's own takes its place."""
        if not self.gone:
            with contextlib.suppress(IndexError, OSError):
                os.kill(self.child(), signal.SIGKILL)
            self.reader.join()
            self.gone.clear()
        super().leave()

    def child(self):
        with open(f"/proc/{self.tracer.pid}/task/{self.tracer.pid}/children", encoding="ascii") as children:
            return int(children.read().split()[0])
