"""Steps: identities that change and systems that were destroyed."""

from bed import PATIENCE
from lab import eventually, expect
from workflow import moved


def certificate(bed):
    """East is given a new certificate of west; the link lives on."""
    old = bed.at("west", "certificate", "show")["fingerprint"]
    yield
    eventually(lambda: renewed(bed, old), PATIENCE)
    bed.trust_each_other()
    bed.wait_healthy(PATIENCE)
    yield
    if bed.at("west", "certificate", "show")["fingerprint"] != old:
        eventually(lambda: forgotten(bed, old), PATIENCE)


def renewed(bed, old):
    if bed.at("west", "certificate", "show")["fingerprint"] == old:
        bed.at("west", "certificate", "renew")


def forgotten(bed, old):
    if old in str(bed.at("east", "certificate", "list")):
        bed.at("east", "certificate", "delete", old)


def rebuilt(bed, system):
    bed.lab("wipe", system)
    bed.lab("start", system)
    bed.clients.clear()
    bed.trust_each_other()


def restore(bed):
    """The primary was rebuilt, and is given its link again."""
    bed.failed_over()
    rebuilt(bed, "east")
    eventually(lambda: expect(bed.link("west")["broken"]), PATIENCE)
    yield
    again = bed.operate("west", "link", "restore", "acme")
    eventually(lambda: is_whole(bed), PATIENCE)
    yield
    again()
    bed.recovering()
    bed.returned()


def is_whole(bed):
    link = bed.link("west")
    expect(link["contact"] and not link["broken"], str(link["troubles"]))
    bed.is_state("east", "failed_over", 1)


def refill(bed):
    """A rebuilt primary is compared and filled."""
    bed.failed_over()
    for size in (1, 1_000, 30_000):
        key = bed.fresh("refilled")
        bed.put("west", key, key.encode() * size)
    rebuilt(bed, "east")
    eventually(lambda: expect(bed.link("west")["broken"]), PATIENCE)
    bed.operate("west", "link", "restore", "acme")
    eventually(lambda: is_whole(bed), PATIENCE)
    yield
    bed.operate("west", "link", "recovery", "begin", "acme")
    eventually(lambda: moved(bed), PATIENCE)
    yield
    bed.returned()


def declare_lost(bed):
    """The replica, which wrote, is destroyed; the primary goes on alone."""
    bed.failed_over()
    bed.lab("kill", "west")
    yield
    again = bed.operate("east", "link", "declare-lost", "acme", "--confirm", "acme")
    bed.put("east", bed.fresh("alone"), b"alone")
    yield
    again()
    rebuilt(bed, "west")
    eventually(lambda: expect(bed.link("east")["broken"]), PATIENCE)
    bed.operate("east", "link", "restore", "acme")
    bed.wait_healthy(PATIENCE)
