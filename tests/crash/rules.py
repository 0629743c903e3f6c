"""What has to be true after a call failed: nothing that rests on it was acknowledged, and nobody went on with its file.

A database that failed may write once more while its process ends, because its library does so when it is closed;
nobody is told of that. A blob is given up: its file is removed, and nothing else is done to it.
"""

# Of the store, and of what the services remember.
DATABASES = (".jnl", "/db")
CHANGING = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fsync", "fdatasync", "sync_file_range"}
# From a failure of its database to the end of a process, which drains for ten seconds at the most.
ENDS_WITHIN = 15


def ends(struck):
    """True when who was struck has to end: by SIGKILL, or because its database failed."""
    fatal = struck["on"].endswith(DATABASES) and struck["name"] in CHANGING
    return fatal or struck["by"] in ("before", "after")


def rests(attempt, struck, calls):
    """True if what was acknowledged may rest on the commit that failed.

    A commit of the mover's own may fail while the answer to a client, whose commit was flushed before, is on its way. So
    it does not where an earlier write to the journal named the key, and the last one, which failed, does not. Of a key
    that no write names, as that of a part, nothing is known.
    """
    wrote = [call for call in calls if call["on"] == struck["on"] and call["name"] in ("write", "writev")]
    wrote = [call for call in wrote if attempt.start <= call["began"] <= struck["at"]]
    names = [call["text"] is None or attempt.key in call["text"] for call in sorted(wrote, key=lambda call: call["began"])]
    return not any(names) or names[-1]


def broken(struck, calls, gone, attempts, place):
    """The rule that was broken, in words; None if none was. `attempts` are the writes of clients, `place` is who was
    struck ("west/data-mover"), `calls` and `gone` are what was seen of it."""
    system, service = place.split("/")
    path, name, at = struck["on"], struck["name"], struck["at"]
    if name not in CHANGING:
        return None
    again = [call["name"] for call in calls if call["began"] > at and call["on"] == path]
    again = [word for word in again if word in CHANGING | {"rename"}]
    told = [one for one in attempts if one.system == system and one.acknowledged and one.start < at < one.end]
    if "/blobs/" in path:
        # Its folder is flushed for other blobs as well.
        if again and "#" in path:
            return f"{name} of {path} failed, and then: {again[:5]}"
        if service == "gateway" and told:
            return f"acknowledged although a {name} of its blob failed: {told[:2]}"
        return None
    if path.endswith(DATABASES):
        if not gone:
            return f"the process goes on after {name} of {path} failed, with {again[:5]}"
        end = gone[0]["at"]
        if end - at > ENDS_WITHIN:
            return f"it ends only {end - at:.1f} s after the failure"
        told = [one for one in told if one.end < end and rests(one, struck, calls)]
        if path.endswith(".jnl") and told:
            return f"acknowledged although the store's {name} failed: {told[:2]}"
    return None
