"""How an operator steers a link's flow: a schedule of rates, the order of its contents, a paused tenant."""

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
