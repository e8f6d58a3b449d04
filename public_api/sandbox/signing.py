"""Keys, signatures over the bytes as they were sent, and the two tests of a request's time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from bn_ml.venue.errors import VenueError, illegal, missing
from public_api.sandbox.answers import Refusal
from public_api.sandbox.requests import Parameters, Request

DEFAULT_WINDOW_MS = Decimal(5000)
MAX_WINDOW_MS = Decimal(60_000)
AHEAD_MS = 1000
_KEY = re.compile(r"[A-Za-z0-9_-]{8,128}")
_TIMESTAMP = "^[0-9]{1,20}$"
_WINDOW = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")
_MICROSECONDS_FROM = 10**14
_FIRST_MS = 1_483_228_800_000


class KeyRing:
    """The account's API keys: a HMAC secret, or a public key in PEM (Ed25519, RSA)."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Take secrets by API key."""
        self._secrets = dict(keys)
        self.may_withdraw = False
        self.may_trade = True
        self.may_read = True

    def revoke(self, api_key: str) -> None:
        """Make a key unknown."""
        self._secrets.pop(api_key, None)

    def restore(self, api_key: str, secret: str) -> None:
        """Make a key known."""
        self._secrets[api_key] = secret

    def secret(self, api_key: str | None) -> str:
        """Give a key's secret; raises `VenueError` -2014 on a malformed and -2015 on an unknown key."""
        if api_key is None or not _KEY.fullmatch(api_key):
            raise VenueError(-2014, "API-key format invalid.")
        secret = self._secrets.get(api_key)
        if secret is None:
            raise no_permission()
        return secret


def no_permission() -> VenueError:
    """Give the refusal of a key that is unknown, used from elsewhere or not allowed to do this."""
    return VenueError(-2015, "Invalid API-key, IP, or permissions for action.")


class SignedTime:
    """When a request says it was made, and how long it is good for."""

    def __init__(self, params: Parameters) -> None:
        """Read `timestamp` and `recvWindow`."""
        text = params.needed("timestamp")
        if not text.isascii() or not text.isdigit() or len(text) > 20:
            raise illegal("timestamp", _TIMESTAMP)
        stamp = int(text)
        self.at_ms = Decimal(stamp) / 1000 if stamp >= _MICROSECONDS_FROM else Decimal(stamp)
        self.window_ms = _window(params)

    def check(self, now_ms: int) -> None:
        """Refuse a request from the future or from too long ago; raises `VenueError` -1021."""
        if self.at_ms >= now_ms + AHEAD_MS:
            raise VenueError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if self.at_ms < _FIRST_MS or now_ms - self.at_ms > self.window_ms:
            raise VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")


def check_signature(request: Request, params: Parameters, secret: str) -> None:
    """Refuse a signature that does not fit query and body as sent; raises `VenueError` -1022."""
    signature = params.needed("signature")
    payload = (_unsigned(request.query) + _unsigned(request.body)).encode()
    if not is_signed_by(secret, payload, signature):
        raise Refusal(-1022, "Signature for this request is not valid.")


def is_signed_by(secret: str, payload: bytes, signature: str) -> bool:
    """Whether a signature (hex for HMAC, base64 otherwise) is the secret's for a payload."""
    if "PUBLIC KEY" not in secret:
        wanted = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
        return hmac.compare_digest(wanted, signature.lower())
    key = load_pem_public_key(secret.encode())
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, payload)
        elif isinstance(key, RSAPublicKey):
            key.verify(raw, payload, PKCS1v15(), hashes.SHA256())
        else:
            return False
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _unsigned(encoded: str) -> str:
    parts = [part for part in encoded.split("&") if unquote(part.partition("=")[0]) != "signature"]
    return "&".join(parts)


def _window(params: Parameters) -> Decimal:
    text = params.text("recvWindow")
    if text is None:
        return DEFAULT_WINDOW_MS
    if not _WINDOW.fullmatch(text):
        raise missing("recvWindow")
    window = Decimal(text)
    if window > MAX_WINDOW_MS:
        raise VenueError(-1131, "Recv window must be less than 60000.")
    return window
