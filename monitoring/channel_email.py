"""Alerts by email over SMTP: STARTTLS, TLS from the start on port 465, or plain where that is asked for."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from monitoring.alert_text import Message, clipped
from monitoring.channel_failures import ChannelFailed
from monitoring.outgoing_address import LOOPBACK_NAMES

TLS_PORT = 465
LONGEST_SUBJECT = 150
ROUNDS = 3
"""A conversation may take so many times the longest wait for one answer."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """From where, as whom and to whom."""

    host: str
    port: int
    username: str
    sender: str
    recipients: tuple[str, ...]
    subject_prefix: str
    password: str = field(default="", repr=False)
    use_tls: bool = True

    @property
    def would_show_password(self) -> bool:
        """Whether a password would travel unencrypted beyond this machine."""
        return bool(self.password) and not self.use_tls and self.host.lower() not in LOOPBACK_NAMES


class EmailChannel:
    """Sends one message per connection."""

    name = "email"

    def __init__(self, mailbox: Mailbox, *, timeout_s: float, trust: ssl.SSLContext | None = None) -> None:
        """`timeout_s` bounds each answer; `trust` is the TLS context, the system's when not given."""
        self._box = mailbox
        self._timeout_s = timeout_s
        self._trust = trust

    def send(self, message: Message) -> None:
        """Hand one message to the server; raises `ChannelFailed`."""
        try:
            mail = self._mail(message)
            with self._connected() as server:
                self._enter(server)
                server.send_message(mail)
        except smtplib.SMTPAuthenticationError:
            raise self._failure(
                "the login is not accepted; check EMAIL_USERNAME, EMAIL_PASSWORD", refused=True
            ) from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused) as error:
            refused = not _is_passing(error)
            raise self._failure(
                f"sender or recipients not accepted ({type(error).__name__})", refused=refused
            ) from None
        except ssl.SSLCertVerificationError:
            raise self._failure("its certificate cannot be verified") from None
        except smtplib.SMTPNotSupportedError:
            raise self._failure("it offers no STARTTLS; use port 465 or another server", refused=True) from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise self._failure(f"no delivery ({type(error).__name__})") from None

    def _mail(self, message: Message) -> EmailMessage:
        box = self._box
        mail = EmailMessage()
        mail["Subject"] = clipped(f"{box.subject_prefix} {message.subject}".strip(), LONGEST_SUBJECT)
        mail["From"], mail["To"] = box.sender, ", ".join(box.recipients)
        mail["Date"] = formatdate()
        mail["Message-ID"] = make_msgid(domain="bn-ml.invalid")
        mail.set_content(message.text.encode("utf-8", "replace").decode())
        return mail

    def _enter(self, server: _Conversation) -> None:
        if self._box.use_tls and not server.is_encrypted:
            server.starttls(context=self._context())
        if self._box.password:
            server.login(self._box.username, self._box.password)

    @contextmanager
    def _connected(self) -> Iterator[_Conversation]:
        """Open a conversation that is cut off when it takes too long as a whole."""
        box = self._box
        encrypted_at_once = box.use_tls and box.port == TLS_PORT
        server = _Conversation(self._timeout_s, self._context() if encrypted_at_once else None)
        deadline = threading.Timer(ROUNDS * self._timeout_s, server.cut_off)
        deadline.daemon = True
        deadline.start()
        try:
            server.open(box.host, box.port)
            yield server
            server.quit()
        finally:
            deadline.cancel()
            server.close()

    def _context(self) -> ssl.SSLContext:
        self._trust = self._trust or ssl.create_default_context()
        return self._trust

    def _failure(self, text: str, *, refused: bool = False) -> ChannelFailed:
        return ChannelFailed(f"{self._box.host}: {text}", refused=refused)


class _Conversation(smtplib.SMTP):
    """An SMTP client whose socket another thread can end, from its first byte on."""

    def __init__(self, timeout_s: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(timeout=timeout_s)
        self.is_encrypted = tls is not None
        self._tls = tls
        self._first: socket.socket | None = None

    def open(self, host: str, port: int) -> None:
        """Connect and read the greeting."""
        # The name that STARTTLS verifies; the library sets it only when it connects while being made.
        self._host = host
        code, _ = self.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, b"")

    def cut_off(self) -> None:
        """End the conversation from another thread; whoever waits for an answer gets an error at once."""
        connection = self.sock or self._first
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                connection.close()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        self._first = connection = socket.create_connection((host, port), timeout)
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_hostname=host)


def _is_passing(error: smtplib.SMTPSenderRefused | smtplib.SMTPRecipientsRefused) -> bool:
    """Tell whether the server asks to try later (4xx), as greylisting does."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return any(400 <= code < 500 for code, _ in error.recipients.values())
    return 400 <= error.smtp_code < 500
