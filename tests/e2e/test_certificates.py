"""Trust: while a certificate is missing, wrong or expired nothing passes, and the status says what to do."""

import contextlib
import datetime
import socketserver
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import Refused, eventually, expect

# Contact must be back at once after the upload, not at the end of some back-off.
AT_ONCE = 5
LINK_PORT = 5748


def test_without_the_certificate_nothing_passes_and_an_upload_brings_everything(lab):
    lab.put("east", "before", b"1")
    eventually(lambda: expect("before" in lab.keys("west")))
    lab.at("west", "certificate", "delete", own(lab, "east")["fingerprint"])
    shows(lab, "west", f"it was deleted; if {own(lab, 'east')['fingerprint']} is the fingerprint", "certificate upload")
    shows(lab, "east", f"withdrawn its trust in our certificate {own(lab, 'east')['fingerprint']}", "upload it there")
    nothing_passes(lab)
    upload(lab, "west", own(lab, "east")["pem"])
    contact_returns_and_everything_arrives(lab)


def test_another_certificate_of_the_same_name_is_not_the_peers(lab, tmp_path):
    """It names the right system, and is not the one that the system shows."""
    lab.at("west", "certificate", "delete", own(lab, "east")["fingerprint"])
    upload(lab, "west", made_like(own(lab, "east"), tmp_path / "key.pem"))
    shows(lab, "west", own(lab, "east")["fingerprint"], "certificate upload")
    nothing_passes(lab)
    upload(lab, "west", own(lab, "east")["pem"])
    contact_returns_and_everything_arrives(lab)


def test_after_a_renewal_each_side_says_where_the_new_certificate_goes(lab):
    """As when a primary was rebuilt, or a key was copied."""
    old = own(lab, "east")["fingerprint"]
    lab.at("east", "certificate", "renew")
    assert own(lab, "east")["fingerprint"] != old
    lab.at("west", "certificate", "delete", old)
    shows(lab, "west", own(lab, "east")["fingerprint"], "certificate upload")
    shows(lab, "east", own(lab, "east")["fingerprint"], "upload it there")
    nothing_passes(lab)
    upload(lab, "west", own(lab, "east")["pem"])
    contact_returns_and_everything_arrives(lab)


def test_an_upload_that_no_connection_could_use_is_refused_with_what_to_do(lab, tmp_path):
    mine, other = own(lab, "west"), own(lab, "east")
    key = tmp_path / "key.pem"
    yesterday = now() - datetime.timedelta(days=1)
    refusals = {
        "own certificate; upload it on the other system": mine["pem"],
        "expired on .*; renew it there": made_like(other, key, until=yesterday),
        "names no switchback system": made_like(other, key, names=[x509.DNSName("east.example.com")]),
        "certificate authority": made_like(other, key, authority=True),
        "private key, which must never leave": key.read_text(),
        "2 certificates; upload exactly one": other["pem"] + mine["pem"],
        "certificate is damaged": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "no certificate in PEM form": "east",
    }
    for reason, pem in refusals.items():
        with pytest.raises(Refused, match=reason):
            upload(lab, "west", pem)
    trusted = lab.at("west", "certificate", "list")["certificates"]
    assert [certificate["fingerprint"] for certificate in trusted] == [other["fingerprint"]]
    lab.wait_healthy()


def test_an_expired_certificate_makes_no_contact_and_the_status_says_who_renews_it(lab, tmp_path):
    """A system's own lasts for two years, so one that ends in seconds is shown by a stand-in for east."""
    lab.at("west", "certificate", "delete", own(lab, "east")["fingerprint"])
    brief = made_like(own(lab, "east"), tmp_path / "key.pem", until=now() + datetime.timedelta(seconds=3))
    upload(lab, "west", brief)
    lab.lab("kill", "east", "link-manager")

    def has_expired():
        trusted = lab.at("west", "certificate", "list")["certificates"]
        expect([certificate["validity"] for certificate in trusted] == ["expired"], str(trusted))

    eventually(has_expired)
    with stand_in(lab.system("east")["address"], brief, tmp_path):
        shows(lab, "west", "the certificate of east.example.com expired on", "renew it there")
    lab.lab("start", "east", "link-manager")
    # After its start it waits a while for contact before it lets clients write.
    eventually(lambda: expect(lab.link("east")["mode"] == "read_write"))
    nothing_passes(lab)
    upload(lab, "west", own(lab, "east")["pem"])
    contact_returns_and_everything_arrives(lab)


def own(lab, system):
    return lab.at(system, "certificate", "show")


def upload(lab, system, pem):
    path = f"{lab.dir}/offered.pem"
    with open(path, "w", encoding="utf-8") as file:
        file.write(pem)
    lab.at(system, "certificate", "upload", path)


def shows(lab, system, *words):
    """The link has no contact and its first trouble says these words."""

    def seen():
        link = lab.link(system)
        expect(not link["contact"] and not link["healthy"], str(link["troubles"]))
        for word in words:
            expect(any(word in trouble for trouble in link["troubles"]), f"{word!r} in {link['troubles']}")

    eventually(seen)


def nothing_passes(lab):
    lab.put("east", "apart", b"2")
    with pytest.raises(AssertionError):
        eventually(lambda: expect("apart" in lab.keys("west")), timeout=2)


def contact_returns_and_everything_arrives(lab):
    def arrived():
        expect(lab.link("west")["contact"] and lab.link("east")["contact"], str(lab.link("west")["troubles"]))
        expect("apart" in lab.keys("west"))

    eventually(arrived, timeout=AT_ONCE)
    lab.wait_healthy()


def now():
    return datetime.datetime.now(datetime.UTC)


def made_like(certificate, key_path, until=None, names=None, authority=False):
    """A self-signed certificate with another key, in PEM; it names the same system unless told other names."""
    urn = f"urn:switchback:system:{certificate['system_id']}:{certificate['incarnation']}"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, certificate["domain"])])
    names = names or [x509.DNSName(certificate["domain"]), x509.UniformResourceIdentifier(urn)]
    until = until or now() + datetime.timedelta(days=1)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(until - datetime.timedelta(days=2))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return builder.sign(key, hashes.SHA256()).public_bytes(pem).decode()


class Handshakes(socketserver.ThreadingTCPServer):
    """Makes a TLS handshake with whoever comes, and hangs up."""

    allow_reuse_address = True
    daemon_threads = True

    def finish_request(self, request, _):
        with contextlib.suppress(OSError):
            self.tls.wrap_socket(request, server_side=True).close()


@contextlib.contextmanager
def stand_in(address, pem, folder):
    """Answers at `address` with this certificate."""
    (folder / "shown.pem").write_text(pem)
    with Handshakes((address, LINK_PORT), None) as server:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.tls.load_cert_chain(folder / "shown.pem", folder / "key.pem")
        threading.Thread(target=server.serve_forever).start()
        try:
            yield
        finally:
            server.shutdown()
