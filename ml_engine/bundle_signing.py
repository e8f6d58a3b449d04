"""Who made a bundle: an Ed25519 signature over its manifest by a local or trusted key.

`manifest.sig` is one line: the public key and the signature, both base64. The private key is 32 raw bytes, base64, in a
file only its owner can read.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bn_ml.errors import ModelError

KEY_FILE_VARIABLE = "BNML_SIGNING_KEY_FILE"
_RAW_BYTES = 32


def key_file(models_dir: Path, environment: Mapping[str, str]) -> Path:
    """Give the signing key's file: `$BNML_SIGNING_KEY_FILE` or one under the models folder."""
    named = environment.get(KEY_FILE_VARIABLE, "").strip()
    return Path(named) if named else models_dir / ".keys" / "signing.key"


def ensure_key(path: Path) -> Ed25519PrivateKey:
    """Read the private key, creating it with mode 0600 when there is none; raises `ModelError` on a broken one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(key.private_bytes_raw()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _keep_first(temporary, path)
    return _private(path)


def local_public_key(path: Path) -> str:
    """Give the public half of the local key; raises `ModelError` when it cannot be read."""
    return public_text(_private(path))


def public_text(key: Ed25519PrivateKey) -> str:
    """Give the public key as `model.trusted_keys` lists it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(key: Ed25519PrivateKey, content: bytes) -> bytes:
    """Give the line of `manifest.sig` for the manifest's bytes."""
    return f"{public_text(key)} {base64.b64encode(key.sign(content)).decode()}\n".encode()


def verify(content: bytes, line: bytes, trusted: Iterable[str]) -> str:
    """Give the public key that signed `content`; raises `ModelError` unless it is trusted and the signature holds."""
    parts = line.decode("ascii", errors="replace").split(" ")
    if len(parts) != 2 or not parts[1].endswith("\n"):
        raise _refused("manifest.sig is malformed")
    name = parts[0]
    if _raw(name) not in {_raw(key) for key in trusted}:
        raise _refused(f"signed by an unknown key {name}")
    try:
        signature = base64.b64decode(parts[1][:-1], validate=True)
        Ed25519PublicKey.from_public_bytes(_raw(name)).verify(signature, content)
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise _refused("the signature does not hold") from error
    if sign_line(name, signature) != line:
        raise _refused("manifest.sig is malformed")
    return name


def sign_line(public: str, signature: bytes) -> bytes:
    """Write the one canonical line for a key and a signature."""
    return f"{public} {base64.b64encode(signature).decode()}\n".encode()


def _raw(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text) if len(text) == 2 * _RAW_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _refused(f"not a public key: {text!r}") from error
    if len(raw) != _RAW_BYTES:
        raise _refused(f"a public key has {_RAW_BYTES} bytes, got {len(raw)}")
    return raw


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(path.read_bytes().strip(), validate=True))
    except (OSError, ValueError, binascii.Error) as error:
        raise ModelError(f"signing key {path} cannot be read: {error}", reason="bundle_refused") from error


def _keep_first(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()


def _refused(message: str) -> ModelError:
    return ModelError(message, reason="bundle_refused")
