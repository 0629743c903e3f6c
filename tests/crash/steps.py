"""The steps that are struck, by name: every generator of the modules of steps.

A step prepares up to its first `yield`, is watched up to the second, and then goes on to where the link is healthy and
the primary writes. So one lab lives through many points, as a system lives through many crashes.
"""

import inspect

import rebuilds
import workflow
import writes
from watch import EVERYBODY

STEPS = {
    name.replace("_", "-"): function
    for module in (writes, workflow, rebuilds)
    for name, function in vars(module).items()
    if inspect.isgeneratorfunction(function) and function.__module__ == module.__name__
}

# A service that was killed and comes back is struck while it starts: a crash in the recovery from a crash.
STARTS = {f"start-{place.replace('/', '-')}": place for place in EVERYBODY}
