"""Steps: an operator's way through a link, from its creation over failover and recovery to its end."""

from bed import PATIENCE, SYSTEMS
from lab import eventually, expect


def link_create(bed):
    """With the first copy of a tenant that has content."""
    name = bed.fresh("tenant").replace("/", "-")
    for words in (("tenant", "create", name), ("namespace", "create", "first", "--tenant", name)):
        eventually(lambda w=words: bed.at("east", *w), PATIENCE)
    peer = bed.system("east")["peer"]
    yield
    again = bed.operate("east", "link", "create", name, "--peer", peer, "--tenant", name, "--dns-failover")
    eventually(lambda: both_well(bed, name), PATIENCE)
    yield
    again()
    eventually(lambda: expect("first" in str(bed.at("west", "namespace", "list", "--tenant", name))), PATIENCE)
    # Links that are left would slow down every later point.
    bed.operate("east", "link", "delete", name)


def both_well(bed, name):
    for system in SYSTEMS:
        link = bed.link(system, name)
        expect(link["healthy"] and link["in_sync"], str(link["troubles"]))


def link_delete(bed):
    name = bed.fresh("tenant").replace("/", "-")
    eventually(lambda: bed.at("east", "tenant", "create", name), PATIENCE)
    peer = bed.system("east")["peer"]
    bed.operate("east", "link", "create", name, "--peer", peer, "--tenant", name)
    eventually(lambda: both_well(bed, name), PATIENCE)
    yield
    bed.operate("east", "link", "delete", name)
    eventually(lambda: [no_link(bed, system, name) for system in SYSTEMS], PATIENCE)
    yield
    # The writer's side is free; the other's stays read-only until an operator releases it.
    for system in SYSTEMS:
        eventually(lambda s=system: is_left(bed, s, name), PATIENCE)


def is_left(bed, system, name):
    no_link(bed, system, name)
    tenant = bed.at(system, "tenant", "show", name)
    free = tenant["mode"] == "read_write" and not tenant["orphaned"]
    expect(free if system == "east" else tenant["orphaned"], f"{name} on {system}: {tenant}")


def no_link(bed, system, name):
    links = [link["name"] for link in bed.at(system, "link", "list")["links"]]
    expect(name not in links, f"{name} is on {system}")


def fail_over(bed):
    key = bed.fresh("drained")
    bed.put("east", key, key.encode())
    yield
    again = bed.operate("west", "link", "fail-over", "acme")
    eventually(lambda: [bed.is_state(system, "failed_over", 1) for system in SYSTEMS], PATIENCE)
    bed.names_lead_to("west")
    yield
    again()
    bed.put("west", bed.fresh("on-west"), b"after")
    bed.recovering()
    bed.returned()


def apart(bed):
    """Both wrote while they could not talk; the key of both is left with two values."""
    key = bed.fresh("hot")
    bed.put("east", key, b"before")
    bed.arrives(key, "west")
    bed.lab("cut")
    bed.put("east", bed.fresh("tail"), b"tail of east")
    bed.put("east", key, b"by east")
    east = bed.possible[key]
    bed.operate("west", "link", "fail-over", "acme")
    eventually(lambda: bed.is_state("west", "failed_over", 1), PATIENCE)
    bed.put("west", key, b"by west " * 10_000)
    bed.aside |= {(key, value) for value in east | bed.possible[key]}
    bed.possible[key] = east | bed.possible[key]


def fail_over_cut_off(bed):
    key = bed.fresh("reached")
    bed.put("east", key, key.encode())
    bed.arrives(key, "west")
    bed.lab("cut")
    bed.put("east", bed.fresh("tail"), b"tail of east")
    yield
    again = bed.operate("west", "link", "fail-over", "acme")
    eventually(lambda: bed.is_state("west", "failed_over", 1), PATIENCE)
    yield
    again()
    bed.lab("heal")
    eventually(lambda: bed.is_state("east", "failed_over", 1), PATIENCE)
    bed.recovering()
    bed.returned()


def demotion(bed):
    """The old primary hears of the failover when the line is back."""
    apart(bed)
    yield
    bed.lab("heal")
    eventually(lambda: bed.is_state("east", "failed_over", 1), PATIENCE)
    bed.names_lead_to("west")
    yield
    bed.recovering()
    bed.returned()


def recovery_begin(bed):
    """Both tails flow, a conflict is decided, its loser kept."""
    apart(bed)
    bed.put("west", bed.fresh("recovered"), b"recovered " * 10_000)
    bed.lab("heal")
    eventually(lambda: bed.is_state("east", "failed_over", 1), PATIENCE)
    yield
    again = bed.operate("west", "link", "recovery", "begin", "acme")
    eventually(lambda: moved(bed), PATIENCE)
    yield
    again()
    bed.returned()


def moved(bed):
    for system in SYSTEMS:
        bed.is_state(system, "recovering", 1)
        link = bed.link(system)
        expect(link["in_sync"], str(link["troubles"]))


def recovery_complete(bed):
    """The replica gives up, the grant is pulled, the primary opens, the names return, replication starts."""
    bed.failed_over()
    key = bed.fresh("back")
    bed.put("west", key, key.encode() * 10_000)
    bed.recovering()
    yield
    again = bed.operate("west", "link", "recovery", "complete", "acme", "--anyway")
    eventually(lambda: [bed.is_state(system, "replicating", 0) for system in SYSTEMS], PATIENCE)
    bed.wait_healthy(PATIENCE)
    bed.names_lead_to("east")
    yield
    again()


def suspend_and_resume(bed):
    key = bed.fresh("held")
    yield
    suspended = bed.operate("east", "link", "suspend", "acme")
    bed.put("east", key, key.encode())
    bed.operate("east", "link", "resume", "acme")
    bed.arrives(key, "west")
    yield
    suspended()
