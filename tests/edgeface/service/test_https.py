"""With a certificate the service speaks HTTPS: only so does a browser elsewhere hand out its camera."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.sync.client import connect

from edgeface.service import ServiceSettings
from tests.edgeface.service.running import QUICK, TOKEN, running


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def test_it_speaks_https_and_keeps_its_cookie_to_it(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(cert))
    settings = ServiceSettings(certificate=(str(cert), str(key)), token=TOKEN, limits=QUICK)
    with running(settings, start="hall") as service:
        assert service.address.startswith("https://")
        with httpx.Client(
            base_url=f"https://localhost:{service.port}", verify=trust, trust_env=False
        ) as client:
            origin = {"origin": f"https://localhost:{service.port}"}
            answer = client.post("/login", json={"token": TOKEN}, headers=origin)
            assert answer.status_code == 204
            assert "Secure" in answer.headers["set-cookie"]
            assert client.get("/state").status_code == 200
        bearer = {"authorization": f"Bearer {TOKEN}"}
        with connect(f"wss://localhost:{service.port}/ws", ssl=trust, additional_headers=bearer) as viewer:
            assert "edgeface.frame/1" in str(viewer.recv(20))
