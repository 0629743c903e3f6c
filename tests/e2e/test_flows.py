"""How an operator steers a link's flow: a schedule of rates, the order of its contents, a paused tenant."""

import collections
import hashlib
import pathlib
import random

import pytest

from lab import Refused, eventually, expect


def arrived(lab, system, key):
    expect(key in lab.keys(system), f"{key} is not on {system}")


def test_a_schedule_holds_replication_and_neither_failover_nor_recovery(lab):
    lab.at("east", "link", "update", "acme", "--schedule", "0")
    eventually(lambda: expect(lab.link("west")["schedule"] == "0"))
    body = b"x" * (2 << 20)
    lab.put("east", "held", body)

    def held():
        for system, way in (("east", "sending"), ("west", "receiving")):
            link = lab.link(system)
            expect(link[way]["held_by_schedule"] and link[way]["pending_objects"] == 1, str(link[way]))
            expect(link["rate_bytes_per_second"] == 0 and not link["healthy"] and link["contact"], str(link))
            expect(link[way]["eta_seconds"] is None, str(link[way]))
            expect(any("the schedule holds" in trouble for trouble in link["troubles"]), str(link["troubles"]))

    eventually(held)
    shown = lab.run("--config", f"{lab.dir}/east/switchback.toml", "link", "show", "acme")
    assert "held by the schedule; up to date as of" in shown, shown
    assert "held" not in lab.keys("west")
    # The drain of a failover is not held, and nothing is left behind.
    lab.fail_over()
    assert lab.read("west", "held") == body
    link = lab.link("west")
    assert link["schedule_overridden"] and link["rate_bytes_per_second"] is None, link
    lab.put("west", "there", body)
    eventually(lambda: lab.at("west", "link", "recovery", "begin", "acme"))
    eventually(lambda: arrived(lab, "east", "there"))
    assert "neither a failover nor a recovery is held" in lab.run(
        "--config", f"{lab.dir}/west/switchback.toml", "link", "show", "acme"
    )
    lab.recover_from_recovering()
    # It is in force again, until it is taken away.
    lab.put("east", "later", body)
    eventually(lambda: expect(lab.link("east")["sending"]["held_by_schedule"]))
    assert "later" not in lab.keys("west")
    lab.at("east", "link", "update", "acme", "--schedule", "Mon-Sun 00:00-12:00 900MB/s; else unlimited")
    eventually(lambda: arrived(lab, "west", "later"))
    lab.at("west", "link", "update", "acme", "--schedule", "unlimited", "--priority", "oldest-first")
    eventually(lambda: expect(lab.link("east")["schedule"] == "unlimited"))
    lab.put("east", "last", b"")
    eventually(lambda: arrived(lab, "west", "last"))
    lab.wait_healthy()
    assert {lab.link(system)["priority"] for system in ("east", "west")} == {"oldest_first"}


def test_a_schedule_that_cannot_be_meant_is_refused_with_an_example(lab):
    for text in ("Mon-Fri 8-18 20MB/s", "20Mbit/s", "Europe/Berlin; 0"):
        with pytest.raises(Refused, match="Mon-Fri 08:00-18:00 20MB/s"):
            lab.at("east", "link", "update", "acme", "--schedule", text)
    assert lab.link("east")["schedule"] == "unlimited"


def test_a_paused_tenant_stays_paused_through_a_failover_and_back(lab):
    lab.put("east", "before", b"1")
    eventually(lambda: arrived(lab, "west", "before"))
    lab.at("east", "link", "pause", "acme", "--tenant", "acme")
    eventually(lambda: expect(lab.link("west")["contents"][0]["paused"]))
    lab.put("east", "paused", b"2")
    lab.fail_over()
    assert "paused" not in lab.keys("west"), "what is paused is not drained"
    lab.put("west", "there", b"3")
    eventually(lambda: lab.at("west", "link", "recovery", "begin", "acme"))
    for system in ("east", "west"):
        link = lab.link(system)
        assert link["contents"][0]["paused"] and any("is paused by an operator" in one for one in link["troubles"])
    with pytest.raises(Refused, match="paused; resume it first"):
        lab.at("west", "link", "recovery", "complete", "acme", "--anyway")
    assert "there" not in lab.keys("east")
    lab.at("west", "link", "resume", "acme", "--tenant", "acme")
    lab.recover_from_recovering()
    for system in ("east", "west"):
        assert {"before", "paused", "there"} <= set(lab.keys(system))


def test_large_bodies_are_moved_by_threads_that_are_behind_those_of_clients(lab):
    def mover(system):
        words = ["data-mover", "--config", f"{lab.dir}/{system}/switchback.toml"]
        for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            if process.read_bytes().decode().split("\0")[2:5] == words:
                return process.parent
        raise AssertionError(f"no mover of {system}")

    def worked(process):
        """What its threads have worked, by their nice values."""
        ticks = collections.Counter()
        for thread in (process / "task").iterdir():
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            # proc_pid_stat(5), fields 14, 15 and 19; the first here is the third there.
            ticks[int(fields[16])] += int(fields[11]) + int(fields[12])
        return ticks

    movers = [mover(system) for system in ("east", "west")]
    before = [worked(process) for process in movers]
    lab.put("east", "large", random.Random(7).randbytes(96 << 20))
    eventually(lambda: arrived(lab, "west", "large"), timeout=60)
    for process, earlier in zip(movers, before):
        now = worked(process)
        assert len(now) == 2, now
        ticks = now - earlier
        behind = ticks[max(now)]
        assert behind > ticks.total() - behind, ticks


def test_text_crosses_a_compressing_link_in_a_fraction_of_its_bytes_and_arrives_as_it_was(lab):
    words = [f"{word}{number}" for word in ("get", "put", "list", "photos", "letters") for number in range(20)]
    chance = random.Random(7)

    def text(length):
        return " ".join(chance.choices(words, k=length // 4))[:length].encode()

    written = {}

    def write(system, way, name, ratio):
        """Small objects many to a message, and large ones in pieces."""
        bodies = {f"{name}/small/{number}": text(8 << 10) for number in range(100)}
        bodies |= {f"{name}/medium/{number}": text(300_000) for number in range(5)}
        bodies[f"{name}/large"] = text(9 << 20)
        before = lab.relayed(way)
        for key, body in bodies.items():
            lab.put(system, key, body)
            written[key] = hashlib.sha256(body).digest()
        there = "west" if system == "east" else "east"
        eventually(lambda: expect(bodies.keys() <= lab.keys(there).keys()), timeout=60)
        whole, carried = sum(map(len, bodies.values())), lab.relayed(way) - before
        assert ratio(whole / carried), f"{whole} bytes in {carried}"

    def compare():
        for system in ("east", "west"):
            assert lab.keys(system).keys() == written.keys(), system
            for key, digest in written.items():
                assert hashlib.sha256(lab.read(system, key)).digest() == digest, f"{key} on {system}"

    assert lab.link("east")["compression"] == "none"
    write("east", "east-west", "as it is", lambda ratio: ratio < 1)
    lab.at("east", "link", "update", "acme", "--compress", "zstd")
    eventually(lambda: expect(lab.link("west")["compression"] == "zstd"))
    write("east", "east-west", "shorter", lambda ratio: ratio > 2)

    def tells_what_it_spares():
        sending = lab.link("east")["sending"]
        expect(sending["plain_bytes"] > 11 << 20 and sending["packed_bytes"] * 2 < sending["plain_bytes"], str(sending))
        shown = lab.run("--config", f"{lab.dir}/east/switchback.toml", "link", "show", "acme")
        expect("zstd: " in shown and " left as " in shown, shown)

    eventually(tells_what_it_spares)
    noise = random.Random(8).randbytes(2 << 20)
    lab.put("east", "noise", noise)
    written["noise"] = hashlib.sha256(noise).digest()
    eventually(lambda: arrived(lab, "west", "noise"))
    lab.fail_over()
    eventually(lambda: lab.at("west", "link", "recovery", "begin", "acme"))
    write("west", "west-east", "back", lambda ratio: ratio > 2)
    lab.recover_from_recovering()
    compare()
