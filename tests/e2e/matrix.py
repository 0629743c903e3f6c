"""Which cases of the matrix run: every fault at every step of the workflow, or a sample that its seed names."""

import itertools
import os
import random

# The link managers of the two systems do not need these to hear one another.
KEEP_CONTACT = ["data-mover", "dns-broadcaster", "certificate-service", "gateway"]
SERVICES = ["link-manager", *KEEP_CONTACT]

# In the order of the workflow. "during" a command: while it runs; "moving": while recovery moves data over a slow
# line; "completing": while both sides are read-only, held there by a slow line.
STEPS = [
    "steady",
    "before fail-over",
    "during fail-over",
    "after fail-over",
    "failed over",
    "after begin",
    "moving",
    "before complete",
    "during complete",
    "after complete",
    "completing",
    "returned",
]

# Each is what `switchback lab` is told.
FAULTS = [
    *(f"kill {system} {service}" for system in ("east", "west") for service in SERVICES),
    "kill east",
    "kill west",
    "cut",
    "cut --one-way east-west",
    "cut --one-way west-east",
    "wipe east",
]

# In the environment, so that processes that share the tests between them choose the same cases.
SEED = os.environ.setdefault("SWITCHBACK_MATRIX_SEED", str(random.SystemRandom().randrange(1_000_000)))
CASES = os.environ.get("SWITCHBACK_MATRIX_CASES", "12")


def chosen():
    """The cases of this run. A sample spreads over the steps and the faults as evenly as it can."""
    if CASES == "all":
        return list(itertools.product(STEPS, FAULTS))
    dice = random.Random(SEED)
    pairs = zip(endless(STEPS, dice), endless(FAULTS, dice), strict=False)
    wanted = min(int(CASES), len(STEPS) * len(FAULTS))
    cases = {}
    while len(cases) < wanted:
        cases[next(pairs)] = None
    return sorted(cases, key=lambda case: STEPS.index(case[0]))


def endless(choices, dice):
    while True:
        yield from dice.sample(choices, len(choices))


def described():
    again = f"SWITCHBACK_MATRIX_SEED={SEED} SWITCHBACK_MATRIX_CASES={CASES} tests/run e2e"
    return f"matrix: {len(chosen())} of {len(STEPS) * len(FAULTS)} cases, seed {SEED}; the same again: {again}"
