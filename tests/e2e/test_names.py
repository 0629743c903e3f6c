"""Names as companies have them: a name server of their own that follows both systems, and records of their own."""

import pathlib
import re
import signal
import ssl
import subprocess

import dns.message
import dns.query
import pytest

from lab import Refused, eventually, expect

KNOT = """
server:
    rundir: {home}
    listen: {address}@53
database:
    storage: {home}
    journal-db-max-size: 64M
    kasp-db-max-size: 8M
    timer-db-max-size: 8M
    catalog-db-max-size: 8M
log:
  - target: stderr
    any: info
remote:
  - id: east
    address: {east}
    via: {address}
  - id: west
    address: {west}
    via: {address}
acl:
  - id: switchback
    address: [{east}, {west}]
    action: [notify, transfer]
template:
  - id: switchback
    storage: {home}
    master: [east, west]
    acl: switchback
zone:
  - domain: _catalog.east.example.com
    storage: {home}
    master: east
    acl: switchback
    catalog-role: interpret
    catalog-template: switchback
"""


@pytest.fixture
def followed(lab, tmp_path):
    """A lab, and the address of a name server that picks up the zones of its systems by itself."""
    east, west = (lab.system(system)["address"] for system in ("east", "west"))
    address = re.sub(r"\d+\.\d+$", "30.1", east)
    config = tmp_path / "knot.conf"
    config.write_text(KNOT.format(home=tmp_path, address=address, east=east, west=west))
    (tmp_path / "own.zone").write_text("www 300 A 192.0.2.80\n")
    configure(lab, "east", address, tmp_path / "own.zone")
    configure(lab, "west", address)
    log = open(tmp_path / "knot.log", "w", encoding="utf-8")
    knot = subprocess.Popen(["knotd", "-c", config], stdout=log, stderr=log)
    try:
        yield lab, address, knot
    finally:
        knot.terminate()
        knot.wait(timeout=20)
        log.close()


def configure(lab, system, address, zone_file=None):
    """Names the name server to a system, which is started again for it."""
    lines = [f'secondaries = [{{ name = "ns-a", address = "{address}:53", catalogue = true }}]']
    if zone_file:
        lines.append(f'zone_files = ["{zone_file}"]')
    configure_lines(lab, system, lines)


def configure_lines(lab, system, lines, service="dns-broadcaster"):
    """Adds lines to the section of a service of a system, which is started again for it."""
    path = pathlib.Path(lab.dir) / system / "switchback.toml"
    section = f"[{service.replace('-', '_')}]\n"
    path.write_text(path.read_text().replace(section, section + "\n".join(lines) + "\n", 1))
    lab.lab("kill", system, service)
    lab.lab("start", system, service)


def ask(server, name, kind="A"):
    """The code of the answer, and its values."""
    words = ["dig", "+time=2", "+tries=1", "+noall", "+comments", "+answer", f"@{server}", name, kind]
    text = subprocess.run(words, capture_output=True, text=True, timeout=10).stdout
    code = re.search(r"status: (\w+)", text)
    values = [line.split(None, 4)[4] for line in text.splitlines() if line and not line.startswith(";")]
    return code and code.group(1), values


def test_a_companys_name_server_follows_a_failover_and_is_not_misled_by_a_rebuilt_primary(followed):
    lab, ns, knot = followed
    east, west = (lab.system(system)["address"] for system in ("east", "west"))
    name = "photos.acme.east.example.com"
    assert lab.at("east", "dns", "catalogue")["state"] == "none"
    eventually(lambda: lab.at("east", "dns", "catalogue", "--publish"))
    assert lab.at("east", "dns", "catalogue")["state"] == "published"
    eventually(lambda: expect(ask(ns, name)[1] == [east], str(ask(ns, name))))
    assert lab.link("east")["name_servers"][0]["name"] == "ns-a"

    done = lab.fail_over()
    (follower,) = done["name_servers"]
    assert (follower["converged"], follower["behind"], follower["unreachable_ms"]) == (1, 0, None), follower
    assert follower["last_change_slowest_ms"] is not None
    said = ask(ns, name)
    assert said == ("NOERROR", [west]), (said, follower)
    state = ask(ns, "_switchback.acme.east.example.com", "TXT")[1]
    assert re.fullmatch(r'"switchback serial=\d+ epoch=1 generation=0"', state[0]), state

    # The primary is rebuilt: nothing that it does not know is denied, or taken from the name server.
    lab.lab("wipe", "east")
    lab.lab("start", "east")
    eventually(lambda: expect(ask(east, "s3.east.example.com")[1] == [east]))
    assert ask(east, name) == ("SERVFAIL", [])
    assert lab.at("east", "dns", "catalogue")["state"] == "none"
    assert ask(ns, name)[1] == [west]

    # A name server that is gone is somebody's business, and nobody waits for it.
    knot.send_signal(signal.SIGTERM)
    eventually(lambda: expect("name-server-behind" in lab.log("west")), 90)


def test_an_operators_own_records_are_read_again_and_a_mistake_is_told_with_its_line(followed, tmp_path):
    lab, ns, _ = followed
    east = lab.system("east")["address"]
    eventually(lambda: lab.at("east", "dns", "catalogue", "--publish"))
    eventually(lambda: expect(ask(ns, "www.east.example.com")[1] == ["192.0.2.80"]))
    zone = tmp_path / "own.zone"
    zone.write_text("www 300 A 192.0.2.81\n")
    assert lab.at("east", "dns", "reload") == {"records": 1, "zones": 0}
    assert ask(east, "www.east.example.com")[1] == ["192.0.2.81"]
    eventually(lambda: expect(ask(ns, "www.east.example.com")[1] == ["192.0.2.81"]))

    zone.write_text("www 300 A 192.0.2.82\nacme 300 A 192.0.2.82\n")
    with pytest.raises(Refused, match=r"own\.zone, line 2: acme") as refused:
        lab.at("east", "dns", "reload")
    print(refused.value)
    assert ask(east, "www.east.example.com")[1] == ["192.0.2.81"], "everything is as it was"


def test_names_follow_a_link_that_is_made_again_right_after_failovers(lab):
    """Each failover carries the serials ahead of the clock; those of the new link begin ahead of them."""
    west = lab.system("west")["address"]
    for _ in range(2):
        lab.fail_over()
        lab.recover()
    before = lab.serial("acme.east.example.com", "east")
    lab.at("east", "link", "delete", "acme")
    # On the replica it stays read-only until somebody says that it is nobody's any more.
    eventually(lambda: lab.at("west", "tenant", "release", "acme"))
    peer = lab.system("east")["peer"]
    words = ("link", "create", "acme", "--peer", peer, "--tenant", "acme", "--dns-failover")
    eventually(lambda: lab.at("east", *words))
    lab.wait_healthy()
    lab.fail_over()
    for server in ("east", "west"):
        eventually(lambda: expect(lab.answer("photos.acme.east.example.com", server) == [west]))
        assert lab.serial("acme.east.example.com", server) > before


def test_names_are_answered_encrypted_before_and_after_a_failover(lab, tmp_path):
    host, authority = "ns1.east.example.com", tmp_path / "tls.pem"
    address = lab.system("east")["address"]
    make = f"""openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={host}
        -addext subjectAltName=DNS:{host} -addext basicConstraints=critical,CA:FALSE
        -keyout {tmp_path}/tls.key -out {authority}"""
    subprocess.run(make.split(), check=True, capture_output=True)
    configure_lines(lab, "east", [
        f'tls_listen = ["{address}:853"]',
        f'quic_listen = ["{address}:853"]',
        f'https_listen = ["{address}:443"]',
        f'tls_certificate_file = "{authority}"',
        f'tls_key_file = "{tmp_path}/tls.key"',
    ])
    trust = {"verify": str(authority), "timeout": 5}
    context = {"verify": ssl.create_default_context(cafile=authority), "timeout": 5, "bootstrap_address": address}
    url = f"https://{host}/dns-query"
    ways = {
        "tls": lambda query: dns.query.tls(query, address, server_hostname=host, **trust),
        "quic": lambda query: dns.query.quic(query, address, server_hostname=host, **trust),
        "https": lambda query: dns.query.https(query, url, **context),
        "https, GET": lambda query: dns.query.https(query, url, post=False, **context),
    }

    def leads_to(system):
        for way, ask_by in ways.items():
            query = dns.message.make_query("photos.acme.east.example.com", "A", pad=128)
            answer = ask_by(query)
            assert [record.address for rrset in answer.answer for record in rrset] == [lab.system(system)["address"]], way

    eventually(lambda: leads_to("east"))
    lab.fail_over()
    eventually(lambda: leads_to("west"))


def test_names_lead_to_a_balancers_name_while_its_system_has_authority(lab):
    balancer = ["gateway_host = \"balancer.example.net\"", "gateway_https_port = 443", "gateway_https_alpn = [\"h2\"]"]
    configure_lines(lab, "west", balancer, "link-manager")
    lab.wait_healthy()
    east, west = (lab.system(system)["address"] for system in ("east", "west"))

    def answers(**expected):
        for server in (east, west):
            for name, kind, values in (
                ("photos.acme.east.example.com", "A", expected["beneath"]),
                ("acme.east.example.com", "A", expected["address"]),
                ("acme.east.example.com", "HTTPS", expected["https"]),
            ):
                assert ask(server, name, kind) == ("NOERROR", values)

    eventually(lambda: answers(beneath=[east], address=[east], https=[]))
    lab.fail_over()
    https = ["1 balancer.example.net. alpn=\"h2\""]
    eventually(lambda: answers(beneath=["balancer.example.net."], address=[west], https=https))
    shown = lab.at("west", "dns", "lookup", "photos.acme.east.example.com")
    assert {answer["alias"] for answer in shown["answers"]} == {"balancer.example.net"}
    lab.recover()
    eventually(lambda: answers(beneath=[east], address=[east], https=[]))
