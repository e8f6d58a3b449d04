"""Receivers of alerts on loopback: a web server and a mail server that do what a test tells them to."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

Answer = tuple[int, bytes, dict[str, str]]


@dataclass(frozen=True)
class Posted:
    """One request as it arrived."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]

    @property
    def text(self) -> str:
        return str(self.json["text"])


@dataclass
class WebReceiver:
    """Keeps what is posted; answers with `answers` one after the other, then with 200.

    While `hangs` is set requests are read and never answered; `drips` sends an answer byte by byte, slowly.
    """

    answers: list[Answer] = field(default_factory=list)
    posts: list[Posted] = field(default_factory=list)
    hangs: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    drips: bool = False
    tls: ssl.SSLContext | None = None

    def __enter__(self) -> WebReceiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                receiver.take(self)

            do_POST = do_GET = _take  # noqa: N815 - the names the standard library calls

            def log_message(self, *args: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        return [posted.text for posted in self.posts]

    def take(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length", 0))
        body = request.rfile.read(length)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self.hangs.is_set():
            self.closing.wait(30)
            return
        self.posts.append(Posted(request.command, request.path, body, headers))
        status, content, more = self.answers.pop(0) if self.answers else (200, b"ok", {})
        if self.drips:
            self._drip(request.connection)
            return
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **more}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    def _drip(self, connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
            if self.closing.wait(0.05):
                return
            connection.sendall(bytes([byte]))


@dataclass
class MailReceiver:
    """A small SMTP server: STARTTLS and login where a context and a password are given.

    `replies` overrides the answer to a verb, as `{"RCPT": "550 no"}`; while `hangs` is set it never greets.
    """

    tls: ssl.SSLContext | None = None
    tls_at_once: bool = False
    login: tuple[str, str] | None = None
    replies: dict[str, str] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    hangs: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    drips: bool = False

    def __enter__(self) -> MailReceiver:
        receiver = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    receiver.converse(self.request)
                except (OSError, ValueError):
                    return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *args: Any) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def texts(self) -> list[str]:
        return [str(mail.get_content()) for mail in self.mails]

    def converse(self, connection: socket.socket) -> None:
        if self.hangs.is_set():
            self.closing.wait(30)
            return
        if self.tls_at_once and self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        while self.drips and not self.closing.wait(0.05):
            connection.sendall(b"2")
        with connection:
            self._talk(connection)

    def _talk(self, connection: socket.socket, *, greets: bool = True) -> None:
        if greets:
            connection.sendall(b"220 loopback ready\r\n")
        lines = connection.makefile("rb")
        for raw in iter(lines.readline, b""):
            verb, _, rest = raw.decode().strip().partition(" ")
            verb = verb.upper()
            self.verbs.append(verb)
            reply = self.replies.get(verb) or self._reply(verb, rest)
            connection.sendall(f"{reply}\r\n".encode())
            if verb == "STARTTLS" and reply.startswith("220") and self.tls is not None:
                with self.tls.wrap_socket(connection, server_side=True) as encrypted:
                    self._talk(encrypted, greets=False)
                return
            if verb == "DATA" and reply.startswith("354"):
                self._read_mail(lines.readline)
                connection.sendall(b"250 taken\r\n")
            if verb == "QUIT":
                return

    def _reply(self, verb: str, rest: str) -> str:
        if verb == "EHLO":
            offered = ["STARTTLS"] if self.tls is not None and not self.tls_at_once else []
            offered += ["AUTH PLAIN"] if self.login else []
            return "\r\n".join([*(f"250-{name}" for name in ["loopback", *offered]), "250 8BITMIME"])
        if verb == "AUTH":
            import base64

            given = base64.b64decode(rest.split()[-1]).decode().split("\0")[1:]
            return "235 welcome" if tuple(given) == self.login else "535 who are you"
        return {"DATA": "354 go on", "STARTTLS": "220 go on", "QUIT": "221 bye"}.get(verb, "250 ok")

    def _read_mail(self, readline: Callable[[], bytes]) -> None:
        lines = [line[1:] if line.startswith(b"..") else line for line in iter(readline, b".\r\n")]
        content = b"".join(lines).replace(b"\r\n", b"\n")
        self.mails.append(cast(EmailMessage, message_from_bytes(content, policy=policy.default)))


def own_certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for 127.0.0.1; gives the server's context and one of a client that trusts it."""
    import ipaddress
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    from bn_ml.clock import SystemClock

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = SystemClock().now()
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(x509), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = signed.public_bytes(serialization.Encoding.PEM)
    folder.joinpath("both.pem").write_bytes(private + public)
    folder.joinpath("public.pem").write_bytes(public)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    client = ssl.create_default_context(cafile=str(folder / "public.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    return server, client


def _usage(x509: Any) -> Any:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    off = dict.fromkeys([*names, "encipher_only", "decipher_only"], False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=True, **off)
