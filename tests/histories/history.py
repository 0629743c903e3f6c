"""What clients and the operator did, and what they were told: a history, one JSON object a line.

All times are seconds of one monotonic clock. A value is the ETag of a body that nobody else writes; None is no object.
"""

import dataclasses
import json

SYSTEMS = ("east", "west")

# What a client was told. Of an unknown outcome nothing is known: it may have been done, or may never be.
DONE, REFUSED, UNKNOWN = "done", "refused", "unknown"


@dataclasses.dataclass(frozen=True)
class Operation:
    """One request of one client."""

    client: str
    system: str
    # "put", "delete" or "get".
    kind: str
    key: str
    # Written, or read.
    value: str | None
    # Of a put: "" without a condition, "absent", or the ETag that must be current.
    condition: str
    outcome: str
    start: float
    end: float

    @property
    def writes(self):
        return self.kind != "get"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to the systems, or was seen of them."""

    kind: str
    start: float
    end: float
    about: dict


@dataclasses.dataclass
class History:
    """The whole; `final` is what both systems held at the end."""

    operations: list
    events: list
    final: dict

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            for kind, items in (("operation", self.operations), ("event", self.events)):
                for item in items:
                    file.write(json.dumps({"record": kind, **dataclasses.asdict(item)}) + "\n")
            file.write(json.dumps({"record": "final", "final": self.final}) + "\n")

    @classmethod
    def load(cls, path):
        history = cls([], [], {})
        with open(path, encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                kind = record.pop("record")
                if kind == "operation":
                    history.operations.append(Operation(**record))
                elif kind == "event":
                    history.events.append(Event(**record))
                else:
                    history.final = record["final"]
        return history
