"""The points: which calls there are to strike at, and what came of those that were struck."""

import collections
import json
import os
import random

# What is injected where. A flush that fails is an I/O error; what takes room may also find none.
ERRORS = {
    **dict.fromkeys(("fsync", "fdatasync", "sync_file_range", "syncfs", "msync", "rename", "unlink", "unlinkat"), ["EIO"]),
    **dict.fromkeys(("write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fallocate"), ["EIO", "ENOSPC"]),
    **dict.fromkeys(("open", "openat", "mkdir", "mkdirat"), ["EIO", "ENOSPC"]),
}


KILLS = ("before", "after")


def count(beds, given):
    """One walk of each step with everybody watched: a point for each call, before it, after it, and failing."""
    from steps import STARTS, STEPS
    from strike import walk
    from watch import EVERYBODY

    found = []
    for step in [*STEPS, *STARTS]:
        if given.step and step not in given.step:
            continue
        for sockets in [False, True] if given.sockets else [False]:
            places = EVERYBODY if step in STEPS else [STARTS[step]]
            # A lab of its own: a system that is filled writes as much as the lab holds, and no later walk
            # comes to the last of these calls in a lab that holds less.
            beds.end(keep=False)
            watch = walk(beds.bed(), step, places, sockets=sockets)
            calls = collections.defaultdict(list)
            for call in sorted(watch.calls, key=lambda call: call["call"]):
                # A call that was refused, as mkdir of what is there, changed nothing.
                if call["result"] >= 0:
                    calls[call["of"]].append(call)
            for place, made in sorted(calls.items()):
                on_files = [call for call in made if call["on"] != "socket"]
                on_sockets = [call for call in made if call["on"] == "socket"]
                dice = random.Random(f"{given.seed} {step} {place}")
                picked = dice.sample(on_sockets, min(given.sockets, len(on_sockets))) if sockets else on_files
                for call in picked:
                    errors = [] if sockets else ERRORS.get(call["name"], [])
                    for how in [*KILLS, *errors]:
                        found.append(
                            {"step": step, "place": place, "number": call["call"], "strike": how, "call": call["name"],
                             "on": call["on"], "sockets": sockets}
                        )  # fmt: skip
        print(f"{step}: {sum(point['step'] == step for point in found)} points", flush=True)
    return found


def chosen(known, given):
    def wanted(point):
        service = given.service and not any(word in (point["place"], point["place"].split("/")[1]) for word in given.service)
        step = given.step and point["step"] not in given.step
        kill = point["strike"] in KILLS
        return not service and not step and not (given.errors and kill) and not (given.kills and not kill)

    left = [point for point in known if wanted(point)]
    if given.sample is not None:
        return random.Random(given.seed).sample(left, min(given.sample, len(left)))
    return left


def name(point):
    kind = " socket" if point["sockets"] else ""
    return f"{point['step']} {point['place']}{kind} {point['number']} {point['call']} {point['strike']}"


def parse(text):
    """A point of a name."""
    step, place, *socket, number, call, how = text.split()
    return {"step": step, "place": place, "number": int(number), "strike": how, "call": call, "sockets": bool(socket)}


def counted(out):
    return os.path.exists(f"{out}/points.json")


def read(out):
    with open(f"{out}/points.json", encoding="utf-8") as file:
        return json.load(file)


def write(out, known):
    """Newly counted points have no results yet."""
    with open(f"{out}/points.json", "w", encoding="utf-8") as file:
        json.dump(known, file, indent=0)
    open(f"{out}/results.jsonl", "w", encoding="utf-8").close()


def note(out, name, result):
    with open(f"{out}/results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"name": name, **result}) + "\n")


def results(out):
    done = {}
    if os.path.exists(f"{out}/results.jsonl"):
        with open(f"{out}/results.jsonl", encoding="utf-8") as read:
            for line in read:
                result = json.loads(line)
                done[result["name"]] = result
    return done


def table(known, done):
    """By step and service: points, and outcomes."""
    rows = collections.defaultdict(collections.Counter)
    rows["all", "all"].clear()
    for point in known:
        kinds = "kill" if point["strike"] in KILLS else "error"
        for row in ((point["step"], point["place"]), ("all", "all")):
            rows[row]["points"] += 1
            rows[row][kinds] += 1
            if result := done.get(name(point)):
                rows[row][result["outcome"]] += 1
    columns = ["points", "kill", "error", "held", "unreached", "failed"]
    lines = [f"{'step':34} {'service':26}" + "".join(f"{column:>10}" for column in columns)]
    for (step, place), counts in rows.items():
        lines.append(f"{step:34} {place:26}" + "".join(f"{counts[column]:>10}" for column in columns))
    return "\n".join(lines)
