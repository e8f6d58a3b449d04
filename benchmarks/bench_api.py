"""The API: requests a second beside a bare route that returns the same bytes, and how fast thirty websockets hear.

Each server is a process of its own under the same server program; rounds alternate between ours and the bare one.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI, Response

from benchmarks.bench_base import ROOT, Result
from bn_ml.domain.market import iso
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore

CLIENTS, ROUNDS, ROUND_S = 8, 5, 1.5
LISTENERS, NEWS = 30, 10
PATH = "/api/runtime/summary"
BAR = 0.6


def measure(folder: Path) -> list[Result]:
    """Measure on a traded book written into `folder`."""
    from tests.fakes.api_books import a_traded_book

    book = folder / "bn_ml.db"
    a_traded_book(book)
    return [_throughput(book), _fan_out(book)]


def _throughput(book: Path) -> Result:
    ours, bare = list[float](), list[float]()
    with _server("ours", book) as our_port:
        body = book.with_name("summary.json")
        body.write_bytes(_get(our_port))
        with _server("bare", body) as bare_port:
            for _ in range(ROUNDS):
                ours.append(_requests_per_s(our_port))
                bare.append(_requests_per_s(bare_port))
    mine, reference = statistics.median(ours), statistics.median(bare)
    note = f"{CLIENTS} keep-alive clients, {body.stat().st_size} bytes; reference: a bare FastAPI route"
    ratio = mine / reference
    return Result("api summary requests", mine, reference, ratio, BAR, "ratio >=", "1/s", ROUNDS, note)


def _fan_out(book: Path) -> Result:
    with _server("ours", book) as port:
        delays = asyncio.run(_news_delays(port, book))
    worst = statistics.median(delays)
    note = f"median seconds from the commit of a scan until all {LISTENERS} websockets have it; looked for every 0.5 s"
    return Result("api websocket fan-out", worst, 0.5, worst / 0.5, None, "shown", "s", NEWS, note)


async def _news_delays(port: int, book: Path) -> list[float]:
    from websockets.asyncio.client import connect

    from tests.fakes.api_books import END, SCAN_ROWS

    url, delays = f"ws://127.0.0.1:{port}/ws/predictions", list[float]()
    lines = [await connect(url, proxy=None) for _ in range(LISTENERS)]
    store = StateStore(book)
    try:
        await asyncio.gather(*(line.recv() for line in lines))
        for place in range(NEWS):
            at = END.replace(microsecond=(place + 1) * 1000)
            store.put("latest_scan", {"at": iso(at), "rows": [dict(row) for row in SCAN_ROWS]}, at)
            began = time.perf_counter()
            await asyncio.gather(*(asyncio.wait_for(line.recv(), 10) for line in lines))
            delays.append(time.perf_counter() - began)
    finally:
        store.close()
        await asyncio.gather(*(line.close() for line in lines))
    return delays


def _requests_per_s(port: int) -> float:
    counts, stop = [0] * CLIENTS, threading.Event()

    def ask(place: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while not stop.is_set():
            line.request("GET", PATH)
            answer = line.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}")
            counts[place] += 1
        line.close()

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    stop.wait(ROUND_S)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def _get(port: int) -> bytes:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    line.request("GET", PATH)
    body = line.getresponse().read()
    line.close()
    return body


@contextmanager
def _server(kind: str, file: Path) -> Iterator[int]:
    """Serve in a child; gives its port, which it prints first."""
    words = [sys.executable, "-m", "benchmarks.bench_api", kind, str(file)]
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield int(json.loads(child.stdout.readline())["port"])
    finally:
        child.terminate()
        child.wait(10)
        if child.stdout is not None:
            child.stdout.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Be one of the two servers: `ours` on a book, or `bare` with the bytes of a file."""
    from public_api.app import Limits, create_app
    from public_api.serving import Address, opened, serve

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("ours", "bare"))
    parser.add_argument("file", type=Path)
    wanted = parser.parse_args(argv)
    if wanted.kind == "ours":
        settings = Settings.from_mapping(
            {"storage": {"sqlite_path": str(wanted.file)}, "public_api": {"ws_poll_sec": 0.5}}
        )
        app = create_app(settings, token="", published=False, limits=Limits(requests_per_s=1e9, burst=10**9))
    else:
        app, body = FastAPI(), wanted.file.read_bytes()

        @app.get(PATH)
        async def bare() -> Response:
            return Response(body, media_type="application/json")

    with opened(Address("127.0.0.1", 0)) as line:
        print(json.dumps({"port": line.getsockname()[1]}), flush=True)
        serve(app, line)


if __name__ == "__main__":
    main()
