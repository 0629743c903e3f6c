"""The operator's workflow, row by row, with real processes and real clients."""

import time

import botocore.exceptions
import pytest

from lab import Refused, eventually, expect


def refused(call):
    """The HTTP status, the S3 code and the message of a refused call."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    response = caught.value.response
    return response["ResponseMetadata"], response["Error"]


def both_sides_hold(lab, written):
    """Every acknowledged write is current on both systems."""
    for system in ("east", "west"):
        keys = lab.keys(system)
        missing = [key for key in written if key not in keys]
        assert not missing, f"{system} lacks {missing[:5]}"
        for key, body in list(written.items())[:20]:
            assert lab.read(system, key) == body


def test_a_failover_with_contact_leaves_nothing_behind(lab):
    written = {f"steady/{number}": b"%d" % number for number in range(50)}
    for key, body in written.items():
        lab.put("east", key, body)
    done = lab.fail_over()
    assert done["link"]["mode"] == "read_write" and done["link"]["state"] == "failed_over", done
    # The primary's tail was drained before the replica was reported read-write.
    assert set(written) <= set(lab.keys("west"))
    meta, error = refused(lambda: lab.put("east", "late", b""))
    assert meta["HTTPStatusCode"] == 403 and "west.example.com" in error["Message"]
    written["after"] = b"written on the replica"
    lab.put("west", "after", written["after"])
    started = time.monotonic()
    lab.recover()
    print(f"failback took {time.monotonic() - started:.1f} s")
    lab.put("east", "home", b"again")
    both_sides_hold(lab, written)
    assert "recovery-completed" in lab.log("east") and "recovery-completed" in lab.log("west")


def test_names_follow_authority_and_serials_never_go_back(lab):
    name, zone = "photos.acme.east.example.com", "acme.east.example.com"
    east, west = lab.system("east")["address"], lab.system("west")["address"]
    seen = []

    def both_answer(address):
        for server in ("east", "west"):
            expect(lab.answer(name, server) == [address], f"{server}: {lab.answer(name, server)}")
        serials = {lab.serial(zone, server) for server in ("east", "west")}
        expect(len(serials) == 1, f"serials {serials}")
        seen.append(serials.pop())

    eventually(lambda: both_answer(east))
    lab.fail_over()
    eventually(lambda: both_answer(west))
    lab.recover()
    eventually(lambda: both_answer(east))
    assert seen == sorted(set(seen)), f"serials {seen}"


def test_with_dns_failover_disabled_nothing_moves_and_the_log_tells_the_operator(lab):
    lab.at("east", "link", "update", "acme", "--dns-failover", "false")
    east = lab.system("east")["address"]
    eventually(lambda: expect(not lab.link("west")["dns_failover"]))
    lab.fail_over()
    time.sleep(1)
    for server in ("east", "west"):
        assert lab.answer("acme.east.example.com", server) == [east]
    assert "redirect-clients" in lab.log("west")
    lab.recover()
    assert lab.log("west").count("redirect-clients") == 2


def test_an_isolated_primary_keeps_its_writes_and_demotes_itself_on_contact(lab):
    written = {"before": b"replicated"}
    lab.put("east", "before", written["before"])
    eventually(lambda: expect("before" in lab.keys("west")))
    lab.lab("cut")
    for number in range(10):
        written[f"tail/{number}"] = b"only on the primary"
        lab.put("east", f"tail/{number}", written[f"tail/{number}"])
    lab.put("east", "both", b"east's")
    started = time.monotonic()
    lab.fail_over()
    assert time.monotonic() - started < 10
    lab.put("west", "both", b"west's")
    lab.put("east", "both-later", b"still writable")
    written["both-later"] = b"still writable"
    lab.s3("west").delete_object(Bucket=lab.bucket, Key="before")
    del written["before"]
    lab.lab("heal")
    eventually(lambda: expect(lab.link("east")["mode"] == "read_only"))
    assert "demoted" in lab.log("east")
    lab.recover()
    both_sides_hold(lab, written)
    for system in ("east", "west"):
        assert "before" not in lab.keys(system), "a delete never comes back"
        assert lab.read(system, "both") == b"west's", "the later write is current"
        kept = lab.keys(system, ".lost+found/replication/acme/")
        assert [lab.read(system, key) for key in kept] == [b"east's"], "the loser's content is kept"
    reports = [lab.at(system, "link", "divergences", "acme")["divergences"] for system in ("east", "west")]
    assert reports[0] == reports[1]
    (entry,) = reports[0]
    assert (entry["key"], entry["epoch"], entry["rule"]) == ("both", 1, "newer hybrid logical time")
    assert (entry["winner"]["system"], entry["loser"]["system"]) == ("west", "east")
    assert lab.read("east", entry["kept_at"]) == b"east's"


def test_a_killed_primary_returns_as_it_was(lab):
    lab.put("east", "before", b"1")
    eventually(lambda: expect("before" in lab.keys("west")))
    lab.lab("kill", "east")
    lab.fail_over()
    lab.put("west", "during", b"2")
    lab.lab("start", "east")
    # Never writable in between: read-only from its start until it hears, and then by its epoch.
    for _ in range(10):
        with pytest.raises((botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)):
            lab.put("east", "stale", b"")
        time.sleep(0.1)
    eventually(lambda: expect(lab.link("east")["mode"] == "read_only" and lab.link("east")["epoch"] == 1))
    lab.recover()
    both_sides_hold(lab, {"before": b"1", "during": b"2"})


def test_a_rebuilt_empty_primary_is_restored_and_gets_everything_back(lab):
    written = {f"small/{number}": b"%d" % number for number in range(300)}
    for key, body in written.items():
        lab.put("east", key, body)
    written["large"] = b"x" * (9 << 20)
    lab.put("east", "large", written["large"])
    eventually(lambda: expect(set(written) <= set(lab.keys("west"))))
    lab.lab("kill", "east")
    lab.fail_over()
    written["during"] = b"on the replica"
    lab.put("west", "during", written["during"])
    lab.lab("wipe", "east")
    lab.lab("start", "east")
    # Without certificates nothing passes, and the status says what to do.
    eventually(lambda: expect("certificate" in " ".join(lab.link("west")["troubles"])))
    lab.exchange_certificates()
    eventually(lambda: expect(lab.link("west")["broken"]))
    with pytest.raises(Refused, match="restore"):
        lab.at("west", "link", "recovery", "begin", "acme")
    eventually(lambda: lab.at("west", "link", "restore", "acme"))
    lab.recover()
    both_sides_hold(lab, written)
    lab.put("east", "home", b"with the same credential as before")


def test_a_rebuilt_replica_is_restored_while_the_primary_writes(lab):
    lab.put("east", "before", b"1")
    lab.at("east", "link", "suspend", "acme")
    lab.lab("wipe", "west")
    lab.lab("start", "west")
    lab.put("east", "during", b"2")
    lab.exchange_certificates()
    eventually(lambda: expect(lab.link("east")["broken"]))
    eventually(lambda: lab.at("east", "link", "restore", "acme"))
    lab.put("east", "restored", b"3")
    lab.at("east", "link", "resume", "acme")
    lab.wait_healthy()
    both_sides_hold(lab, {"before": b"1", "during": b"2", "restored": b"3"})


def test_a_failover_in_the_middle_of_recovery_leaves_one_writer(lab):
    lab.fail_over()
    eventually(lambda: lab.at("west", "link", "recovery", "begin", "acme"))
    lab.fail_over()
    assert lab.link("west")["epoch"] == 3
    lab.put("west", "third", b"3")
    refused(lambda: lab.put("east", "no", b""))
    lab.recover()
    both_sides_hold(lab, {"third": b"3"})
    assert lab.link("east")["epoch"] == 4


def test_completion_waits_for_a_cut_and_can_be_left_by_a_failover(lab):
    lab.fail_over()
    eventually(lambda: lab.at("west", "link", "recovery", "begin", "acme"))
    lab.lab("slow", "--latency", "400ms")
    lab.put("west", "pending", b"p")
    lab.at("west", "link", "recovery", "complete", "acme", "--anyway")
    lab.lab("cut")
    meta, _ = refused(lambda: lab.put("west", "no", b""))
    assert meta["HTTPStatusCode"] == 503 and meta["HTTPHeaders"]["retry-after"]
    lab.lab("heal")
    lab.fail_over()
    lab.put("west", "after", b"a")
    lab.recover()
    both_sides_hold(lab, {"pending": b"p", "after": b"a"})


def test_a_survivor_goes_on_alone_when_the_other_side_is_declared_lost(lab):
    lab.put("east", "before", b"1")
    lab.fail_over()
    eventually(lambda: lab.at("west", "link", "recovery", "begin", "acme"))
    lab.lab("kill", "west")
    eventually(lambda: expect(not lab.link("east")["contact"]))
    with pytest.raises(Refused):
        lab.at("east", "link", "declare-lost", "acme", "--confirm", "another")
    eventually(lambda: lab.at("east", "link", "declare-lost", "acme", "--confirm", "acme"))
    lab.put("east", "alone", b"2")
    assert "declared-lost" in lab.log("east")
    lab.lab("start", "west")
    lab.wait_healthy()
    both_sides_hold(lab, {"before": b"1", "alone": b"2"})


def test_commands_are_refused_with_the_next_step(lab):
    with pytest.raises(Refused, match="run the command on the replica"):
        lab.at("east", "link", "fail-over", "acme")
    with pytest.raises(Refused, match="recovery follows a failover"):
        lab.at("west", "link", "recovery", "begin", "acme")
    with pytest.raises(Refused, match="link list"):
        lab.at("west", "link", "show", "nothing")
    with pytest.raises(Refused, match="protected by link"):
        lab.at("east", "link", "create", "other", "--peer", lab.system("east")["peer"], "--tenant", "acme")
    with pytest.raises(Refused, match="does not exist"):
        lab.at("east", "link", "create", "other", "--peer", lab.system("east")["peer"], "--tenant", "nobody")
    lab.at("east", "tenant", "create", "twin")
    lab.at("west", "tenant", "create", "twin")
    with pytest.raises(Refused, match="different tenant"):
        lab.at("east", "link", "create", "twins", "--peer", lab.system("east")["peer"], "--tenant", "twin")


def test_a_repeated_command_does_nothing_and_a_plan_changes_nothing(lab):
    before = lab.link("west")
    plan = lab.fail_over("--plan")
    assert plan["steps"] and lab.link("west")["epoch"] == before["epoch"]
    lab.fail_over("--request-id", "the-only-one")
    lab.fail_over("--request-id", "the-only-one")
    assert lab.link("west")["epoch"] == 1


def test_a_paused_tenant_and_a_suspended_link_catch_up(lab):
    lab.at("east", "link", "suspend", "acme")
    eventually(lambda: expect(lab.link("west")["suspended"]))
    lab.put("east", "while-suspended", b"1")
    time.sleep(1)
    assert "while-suspended" not in lab.keys("west")
    lab.at("east", "link", "resume", "acme")
    eventually(lambda: expect("while-suspended" in lab.keys("west")))
    lab.at("east", "link", "pause", "acme", "--tenant", "acme")
    time.sleep(0.5)
    lab.put("east", "while-paused", b"2")
    time.sleep(1)
    assert "while-paused" not in lab.keys("west")
    lab.at("east", "link", "resume", "acme", "--tenant", "acme")
    eventually(lambda: expect("while-paused" in lab.keys("west")))
    lab.wait_healthy()


@pytest.mark.parametrize("service", ["link-manager", "data-mover", "dns-broadcaster", "certificate-service", "gateway"])
def test_a_service_killed_on_either_side_comes_back_and_the_workflow_ends(lab, service):
    """SIGKILL to one service of each system in each state; then everything ends as it should."""

    def bounce():
        for system in ("east", "west"):
            lab.lab("kill", system, service)
            lab.lab("start", system)

    lab.put("east", "one", b"1")
    bounce()
    retry_put(lab, "east", "two", b"2")
    lab.wait_healthy()
    eventually(lambda: lab.fail_over())
    bounce()
    retry_put(lab, "west", "three", b"3")
    eventually(lambda: lab.at("west", "link", "recovery", "begin", "acme"))
    bounce()
    retry_put(lab, "west", "four", b"4")
    eventually(lambda: lab.at("west", "link", "recovery", "complete", "acme"))
    bounce()
    lab.wait_healthy()
    both_sides_hold(lab, {"one": b"1", "two": b"2", "three": b"3", "four": b"4"})


def retry_put(lab, system, key, body, timeout=30):
    """A client that rides through: what was acknowledged counts."""
    end = time.monotonic() + timeout
    while True:
        try:
            return lab.put(system, key, body)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
