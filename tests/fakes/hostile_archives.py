"""Archives and bundles made to do harm: each case changes one thing about a sound archive of one signed bundle."""

from __future__ import annotations

import io
import os
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ml_engine.bundle import (
    ENSEMBLE_FILE,
    MANIFEST_FILE,
    METADATA_FILE,
    REFERENCE_FILE,
    SIGNATURE_FILE,
    VECTORS_FILE,
    Manifest,
    core_files,
    fact_of,
    manifest_of,
)
from ml_engine.bundle_signing import ensure_key, local_public_key, sign
from tests.fakes.bundle_builders import a_bundle

Files = dict[str, bytes]
Entry = tuple[str, bytes]
JOBLIB = "rf.joblib"
KEY = "BTC_USDC"


class Touch:
    """A pickle of this makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, (self.path, os.O_CREAT)


@dataclass(frozen=True)
class Workshop:
    """Where the cases are made: the key the receiver trusts, a stranger's, and the file harmful code would make."""

    folder: Path
    trusted: Path
    stranger: Path
    canary: Path

    @classmethod
    def at(cls, folder: Path) -> Workshop:
        made = cls(folder, folder / "trusted.key", folder / "stranger.key", folder / "canary")
        ensure_key(made.trusted)
        ensure_key(made.stranger)
        return made

    @property
    def public(self) -> str:
        return local_public_key(self.trusted)

    @property
    def bomb(self) -> bytes:
        return pickle.dumps(Touch(self.canary))

    def sound(self, *, key: Path | None = None, **changes: object) -> Files:
        """Every file of a well-made bundle, a harmful pickle among them that nobody may ever load."""
        bundle = a_bundle(**{"version": 5, **changes})
        return self.signed({**core_files(bundle), JOBLIB: self.bomb}, bundle.metadata, key)

    def signed(self, files: Files, metadata: Any, key: Path | None = None) -> Files:
        return self.manifested(files, manifest_of(metadata, files), key)

    def manifested(self, files: Files, manifest: Manifest, key: Path | None = None) -> Files:
        content = manifest.to_bytes()
        return {**files, MANIFEST_FILE: content, SIGNATURE_FILE: sign(ensure_key(key or self.trusted), content)}

    def with_core(self, **content: bytes) -> Files:
        """A bundle signed by the trusted key whose named core files are something else."""
        names = {
            "vectors": VECTORS_FILE,
            "reference": REFERENCE_FILE,
            "ensemble": ENSEMBLE_FILE,
            "metadata": METADATA_FILE,
        }
        bundle = a_bundle(version=5)
        files = {**core_files(bundle), **{names[name]: data for name, data in content.items()}}
        return self.signed(files, bundle.metadata)


def entries_of(files: Files, folder: str = f"models/{KEY}") -> list[Entry]:
    return [(f"{folder}/{name}", data) for name, data in sorted(files.items())]


def zipped(entries: list[Entry], *, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"", **marks: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            for mark, value in marks.items():
                setattr(info, mark, value)
            archive.writestr(info, data, method)
        archive.comment = comment
    return stream.getvalue()


def pickled_arrays(bomb: Path, names: tuple[str, ...]) -> bytes:
    """An npz whose arrays are pickled objects that do harm when loaded."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, **{name: np.array([Touch(bomb)], dtype=object) for name in names})
    return stream.getvalue()


Case = Callable[[Workshop], bytes]


def all_cases() -> dict[str, Case]:
    """Every hostile archive by name."""
    return dict(
        [*_strange_names(), *_strange_forms(), *_patched(), *_lies(), *_wrong_signatures(), *_harmful_content()]
    )


def _plus(name: str, data: bytes = b"x") -> Case:
    return lambda shop: zipped([*entries_of(shop.sound()), (name, data)])


def _strange_names() -> Iterator[tuple[str, Case]]:
    for name in (
        "../evil", "models/../../evil", f"models/{KEY}/../evil", "/etc/evil", "//evil", "C:/evil", "C:\\evil",
        f"models\\{KEY}\\x", f"models/{KEY}/a\\..\\b", f"models/{KEY}/.hidden", "models/.keys/signing.key",
        f"models/.versions/{KEY}/newest", f"models/{KEY}/sub/x", f"models/{KEY}/x y", f"models/{KEY}/ünïcode",
        f"models/{KEY}/line\nbreak", f"models/{KEY}/{'n' * 300}", "models/readme.txt", "readme.txt",
        "models/NOSYMBOL/metadata.json", "models/btc_usdc/metadata.json", "other/BTC_USDC/metadata.json",
        f"models/{KEY}//x", f"./models/{KEY}/x", "models/ETH_USDC/metadata.json", f"models/{KEY}/extra.bin",
        f"models/{KEY}/conftest.py", "", " ", f"models/{KEY}/",
    ):  # fmt: skip
        yield f"named {name[:40]!r}", _plus(name)


def _strange_forms() -> Iterator[tuple[str, Case]]:
    def linked(shop: Workshop) -> bytes:
        return zipped(entries_of(shop.sound()), external_attr=(stat.S_IFLNK | 0o777) << 16)

    def device(shop: Workshop) -> bytes:
        return zipped(entries_of(shop.sound()), external_attr=(stat.S_IFCHR | 0o600) << 16)

    def twice(shop: Workshop) -> bytes:
        entries = entries_of(shop.sound())
        return doubled(entries, entries[0])

    def twice_in_case(shop: Workshop) -> bytes:
        return zipped([*entries_of(shop.sound()), (f"models/{KEY}/METADATA.json", b"x")])

    def crowded(shop: Workshop) -> bytes:
        return zipped([*entries_of(shop.sound()), *((f"models/{KEY}/f{number}", b"") for number in range(200))])

    def bomb(shop: Workshop) -> bytes:
        return zipped([*entries_of(shop.sound()), (f"models/{KEY}/zeros", bytes(1 << 20))])

    def signed_bomb(shop: Workshop) -> bytes:
        bundle = a_bundle(version=5)
        return zipped(entries_of(shop.signed({**core_files(bundle), "zeros": bytes(1 << 20)}, bundle.metadata)))

    def packed_with(shop: Workshop, method: int) -> bytes:
        return zipped(entries_of(shop.sound()), method=method)

    yield "links", linked
    yield "devices", device
    yield "a name twice", twice
    yield "a name twice but for its case", twice_in_case
    yield "more than 200 files", crowded
    yield "a file that grows", bomb
    yield "a signed file that grows", signed_bomb
    yield "bzip2", partial(packed_with, method=zipfile.ZIP_BZIP2)
    yield "lzma", partial(packed_with, method=zipfile.ZIP_LZMA)
    yield "a comment", lambda shop: zipped(entries_of(shop.sound()), comment=b"hello")
    yield "extra fields", lambda shop: zipped(entries_of(shop.sound()), extra=struct.pack("<HHI", 0x9999, 4, 1))
    yield "no entries", lambda shop: zipped([])
    yield "not a zip", lambda shop: shop.bomb
    yield "nothing", lambda shop: b""
    yield "a tarball's beginning", lambda shop: b"BTC_USDC/metadata.json" + bytes(1000)


def doubled(entries: list[Entry], again: Entry) -> bytes:
    """A zip that lists one name twice, written without the library's warning."""
    other = (again[0][:-1] + "~", again[1])
    return zipped([*entries, other]).replace(other[0].encode(), again[0].encode())


def _patched() -> Iterator[tuple[str, Case]]:
    def sound(shop: Workshop) -> bytes:
        return zipped(entries_of(shop.sound()))

    def end_field(shop: Workshop, *, at: int, form: str, value: int) -> bytes:
        content = bytearray(sound(shop))
        struct.pack_into(form, content, len(content) - 22 + at, value)
        return bytes(content)

    def directory_field(shop: Workshop, *, at: int, form: str, value: int) -> bytes:
        content = bytearray(sound(shop))
        struct.pack_into(form, content, content.rindex(b"PK\x01\x02") + at, value)
        return bytes(content)

    def local_name(shop: Workshop) -> bytes:
        content = sound(shop)
        place = content.index(b"metadata.json")
        return content[:place] + b"METADATA.json" + content[place + 13 :]

    yield "something before it", lambda shop: b"#!/bin/sh\n" + sound(shop)
    yield "something behind it", lambda shop: sound(shop) + b"trailer"
    yield "cut in the middle", lambda shop: sound(shop)[: len(sound(shop)) // 2]
    yield "without its last byte", lambda shop: sound(shop)[:-1]
    yield "two archives in one", lambda shop: sound(shop) + sound(shop)
    yield "several disks", partial(end_field, at=4, form="<H", value=1)
    yield "another count of files", partial(end_field, at=8, form="<H", value=1)
    yield "65535 files", partial(end_field, at=10, form="<H", value=0xFFFF)
    yield "a directory elsewhere", partial(end_field, at=16, form="<L", value=4)
    yield "a directory without end", partial(end_field, at=12, form="<L", value=0xFFFFFFFF)
    yield "another name in the file's own header", local_name
    yield "encrypted", partial(directory_field, at=8, form="<H", value=1)
    yield "a file of 4 GB", partial(directory_field, at=24, form="<L", value=0xFFFFFFFE)
    yield "a compressed size without end", partial(directory_field, at=20, form="<L", value=0xFFFFFFFE)
    yield "files one above the other", partial(directory_field, at=42, form="<L", value=0)
    yield "a wrong checksum", partial(directory_field, at=16, form="<L", value=7)
    yield "a name with a hidden end", lambda shop: sound(shop).replace(b"rf.joblib", b"rf\x00oblib")


def _lies() -> Iterator[tuple[str, Case]]:
    def without(shop: Workshop, name: str) -> bytes:
        return zipped(entries_of({key: data for key, data in shop.sound().items() if key != name}))

    def changed(shop: Workshop, name: str) -> bytes:
        files = shop.sound()
        data = files[name]
        return zipped(entries_of({**files, name: bytes([data[0] ^ 1]) + data[1:]}))

    def longer(shop: Workshop) -> bytes:
        files = shop.sound()
        return zipped(entries_of({**files, JOBLIB: files[JOBLIB] + b"."}))

    def second_is_bad(shop: Workshop) -> bytes:
        other = shop.sound(symbol="ETH/USDC", model_key="ETH_USDC")
        spoilt = {**other, METADATA_FILE: other[METADATA_FILE] + b" "}
        return zipped([*entries_of(shop.sound()), *entries_of(spoilt, "models/ETH_USDC")])

    for name in (METADATA_FILE, ENSEMBLE_FILE, VECTORS_FILE, JOBLIB, MANIFEST_FILE, SIGNATURE_FILE):
        yield f"without {name}", partial(without, name=name)
    for name in (METADATA_FILE, ENSEMBLE_FILE, VECTORS_FILE, REFERENCE_FILE, JOBLIB, MANIFEST_FILE, SIGNATURE_FILE):
        yield f"a changed byte in {name}", partial(changed, name=name)
    yield "a longer file", longer
    yield "one sound and one bad bundle", second_is_bad
    yield "in the folder of another symbol", lambda shop: zipped(entries_of(shop.sound(), "models/ETH_USDC"))


def _wrong_signatures() -> Iterator[tuple[str, Case]]:
    def resigned(shop: Workshop) -> bytes:
        return zipped(entries_of(shop.sound(key=shop.stranger)))

    def of_another(shop: Workshop) -> bytes:
        other = shop.sound(dataset_rows=601)[SIGNATURE_FILE]
        return zipped(entries_of({**shop.sound(), SIGNATURE_FILE: other}))

    def borrowed_name(shop: Workshop) -> bytes:
        line = shop.sound(key=shop.stranger)[SIGNATURE_FILE].split(b" ")[1]
        return zipped(entries_of({**shop.sound(), SIGNATURE_FILE: shop.public.encode() + b" " + line}))

    yield "signed by a stranger", resigned
    yield "signed for something else", of_another
    yield "a stranger's signature under the trusted name", borrowed_name
    for text in (b"", b"\n", b"a b\n", b"\xff\xfe", b"x" * 100_000, b"a b c\n"):
        yield (
            f"a signature of {text[:6]!r}",
            lambda shop, text=text: zipped(entries_of({**shop.sound(), SIGNATURE_FILE: text})),
        )


def _harmful_content() -> Iterator[tuple[str, Case]]:
    """Bundles the trusted key did sign: refused for what they are, and no code of theirs runs."""

    def arrays(shop: Workshop, part: str) -> bytes:
        names = ("rows", "final", "member_rf", "member_xgb", "member_lgb")
        return zipped(entries_of(shop.with_core(**{part: pickled_arrays(shop.canary, names)})))

    def instead(shop: Workshop, part: str) -> bytes:
        return zipped(entries_of(shop.with_core(**{part: shop.bomb})))

    def named_outside(shop: Workshop) -> bytes:
        bundle = a_bundle(version=5)
        files = core_files(bundle)
        manifest = manifest_of(bundle.metadata, files)
        listed = replace(manifest, files={**manifest.files, "../evil": fact_of(b"x")})
        return zipped([*entries_of(shop.manifested(files, listed)), (f"models/{KEY}/../evil", b"x")])

    for part in ("vectors", "reference"):
        yield f"pickled arrays as {part}", partial(arrays, part=part)
    for part in ("vectors", "reference", "ensemble", "metadata"):
        yield f"a pickle as {part}", partial(instead, part=part)
    yield "a signed name that leads out", named_outside
    yield "trained on other features", lambda shop: zipped(entries_of(shop.sound(feature_hash="e" * 64)))
    yield "an older version", lambda shop: zipped(entries_of(shop.sound(version=1)))
    yield "the version that serves", lambda shop: zipped(entries_of(shop.sound(version=2)))
    yield "another schema", lambda shop: zipped(entries_of(shop.sound(schema_version=2)))
    yield (
        "a decompression bomb inside",
        lambda shop: zipped(entries_of(shop.with_core(ensemble=zlib.compress(bytes(1 << 24))))),
    )
