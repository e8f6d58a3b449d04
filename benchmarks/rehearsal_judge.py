"""Judges a finished rehearsal: the exchange's own record against the bot's book, neither asking the bot."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

PREFIX = "bnml-"
UNIT = Decimal(100_000_000)
LONGEST_BARE_S = 5.0

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Book:
    """The exact tables of the bot."""

    intents: tuple[Row, ...]
    fills: tuple[Row, ...]
    totals: Mapping[str, Decimal]
    control: tuple[Row, ...]
    positions: tuple[Row, ...]

    @classmethod
    def read(cls, path: Path) -> Book:
        """Read a book nobody writes to."""
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row

            def rows(query: str) -> tuple[Row, ...]:
                return tuple(dict(row) for row in connection.execute(query))

            sums = rows(
                "SELECT asset, sum(amount) AS total FROM (SELECT asset, amount FROM ledger UNION ALL "
                "SELECT asset, amount FROM foreign_balances) GROUP BY asset"
            )
            return cls(
                rows("SELECT * FROM intents ORDER BY seq"),
                rows("SELECT * FROM fills ORDER BY id"),
                {row["asset"]: row["total"] / UNIT for row in sums},
                rows("SELECT * FROM control ORDER BY epoch"),
                rows("SELECT * FROM position_book"),
            )


def problems(book: Book, audit: Row) -> tuple[str, ...]:
    """Give every broken promise, one line each."""
    return tuple(
        line for check in (_orders, _fills, _balances, _control, _protection, _positions) for line in check(book, audit)
    ) + tuple(f"exchange: {line}" for line in audit["violations"])


def _orders(book: Book, audit: Row) -> Iterator[str]:
    """No order without an intent, none sent twice, none of an intent that is said never to have been placed."""
    ours = [order for order in audit["orders"] if order["client_id"].startswith(PREFIX)]
    for client_id, count in Counter(order["client_id"] for order in ours).items():
        if count > 1:
            yield f"doubled: {client_id} is at the exchange {count} times"
    intents = {row["client_id"]: row for row in book.intents}
    for order in ours:
        intent = intents.get(order["client_id"])
        if intent is None:
            yield f"unexplained: order {order['client_id']} has no intent"
        elif intent["state"] in ("REFUSED", "NEVER_ACCEPTED"):
            yield f"misjudged: {order['client_id']} is {order['status']} at the exchange, {intent['state']} in the book"
        elif intent["state"] not in _SAME[order["status"]]:
            yield f"stale: {order['client_id']} is {order['status']} at the exchange, {intent['state']} in the book"
    known = {order["client_id"] for order in ours}
    for client_id, intent in intents.items():
        if intent["state"] in ("OPEN", "FILLED", "CANCELED", "EXPIRED") and client_id not in known:
            yield f"invented: {client_id} is {intent['state']} in the book and unknown at the exchange"


_OPEN = ("OPEN", "SENT", "UNKNOWN")
_SAME = {
    "NEW": _OPEN,
    "PARTIALLY_FILLED": _OPEN,
    "PENDING_NEW": _OPEN,
    "FILLED": ("FILLED",),
    "CANCELED": ("CANCELED",),
    "EXPIRED": ("EXPIRED",),
    "REJECTED": ("REFUSED",),
}


def _fills(book: Book, audit: Row) -> Iterator[str]:
    """Every trade of ours booked once, exactly."""
    ours = {
        (trade["symbol"], str(trade["trade_id"])): trade
        for trade in audit["trades"]
        if trade["client_id"].startswith(PREFIX)
    }
    booked = {(row["symbol"], row["trade_id"]): row for row in book.fills}
    for key in ours.keys() - booked.keys():
        yield f"lost: trade {key} of {ours[key]['client_id']} is not booked"
    for key in booked.keys() - ours.keys():
        yield f"invented: fill {key} never happened"
    for key in ours.keys() & booked.keys():
        for name, column in (("price", "price"), ("quantity", "qty"), ("fee", "fee")):
            if Decimal(ours[key][name]) != booked[key][column] / UNIT:
                yield f"differs: trade {key} {name} {ours[key][name]}, booked {booked[key][column] / UNIT}"


def _balances(book: Book, audit: Row) -> Iterator[str]:
    """Ledger and declared foreign amounts add up to the account."""
    held = {asset: Decimal(row["free"]) + Decimal(row["locked"]) for asset, row in audit["balances"].items()}
    for asset in sorted(held.keys() | book.totals.keys()):
        here, there = book.totals.get(asset, Decimal(0)), held.get(asset, Decimal(0))
        if here != there:
            yield f"books: {asset} {here} in the book, {there} at the exchange"


def _control(book: Book, audit: Row) -> Iterator[str]:
    """Nothing but exits after a halt, and no halt in a rehearsal that gave no reason for one."""
    del audit
    states = {row["epoch"]: row for row in book.control}
    for intent in book.intents:
        if states[intent["epoch"]]["state"] == "HALTED" and intent["purpose"] != "exit":
            yield f"after halt: {intent['purpose']} {intent['client_id']} in epoch {intent['epoch']}"
    for row in book.control:
        if row["state"] == "HALTED":
            yield f"halted: {row['reason']}"


def _protection(book: Book, audit: Row) -> Iterator[str]:
    del book
    for stretch in audit["protection"]["stretches"]:
        if stretch["reachable_s"] > LONGEST_BARE_S:
            yield f"unprotected: {stretch['symbol']} {stretch['quantity']} for {stretch['reachable_s']:.1f} s"


def _positions(book: Book, audit: Row) -> Iterator[str]:
    """Every position in the book holds what its fills left, and is covered by its resting stops."""
    del audit
    for row in book.positions:
        if row["status"] != "OPEN":
            continue
        live = [
            item
            for item in book.intents
            if item["position_id"] == row["position_id"] and item["state"] == "OPEN" and item["purpose"] == "stop"
        ]
        if not live:
            yield f"bare at the end: {row['symbol']}"
