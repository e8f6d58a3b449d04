"""Keys of the sandbox's only account; they follow from the seed and are worth nothing anywhere else."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

_GATEWAY = "websocket-gateway"


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """A HMAC pair and an Ed25519 pair for clients, and a pair the WebSocket API signs with on its way inside."""

    api_key: str
    secret: str
    ed25519_key: str
    ed25519_private: str
    ed25519_public: str
    gateway_key: str
    gateway_secret: str

    @classmethod
    def of_seed(cls, seed: int) -> AccountKeys:
        """Give the keys of a seed."""
        private = Ed25519PrivateKey.from_private_bytes(_digest("ed25519", seed))
        return cls(
            api_key=f"sandbox{_digest('key', seed).hex()[:57]}",
            secret=_digest("secret", seed).hex(),
            ed25519_key=f"sandboxed{_digest('ed key', seed).hex()[:55]}",
            ed25519_private=private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            ed25519_public=private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            gateway_key=_digest(_GATEWAY, seed).hex(),
            gateway_secret=_digest(f"{_GATEWAY} secret", seed).hex(),
        )

    def ring(self) -> dict[str, str]:
        """Give what the exchange keeps: secrets and public keys by API key."""
        return {
            self.api_key: self.secret,
            self.ed25519_key: self.ed25519_public,
            self.gateway_key: self.gateway_secret,
        }

    def gateway_signed(self, query: str) -> str:
        """Sign a query with the inner pair."""
        return f"{query}&signature={hmac.new(self.gateway_secret.encode(), query.encode(), hashlib.sha256).hexdigest()}"


def _digest(purpose: str, seed: int) -> bytes:
    return hashlib.sha256(f"sandbox {purpose} {seed}".encode()).digest()
