"""Whatever is sent to the chat, in whatever order: the control state never gets less strict and no order is made."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.control import is_tighter
from bn_ml.domain.account import Control, ControlState
from monitoring.telegram_confirmations import VALID_S
from monitoring.telegram_updates import read_update
from tests.fakes.book_builders import AT
from tests.fakes.telegram_chat import OURS, STRANGER, Chat, a_chat

WORDS = (
    "kill",
    "pause",
    "resume",
    "status",
    "why BTC/USDC",
    "buy BTC/USDC 100",
    "start",
    "NORMAL",
    "health",
    "",
    "kill now",
)
CHATS = st.sampled_from([OURS, OURS, OURS, STRANGER])
COMMANDS = st.tuples(st.just("write"), st.sampled_from(WORDS) | st.text(max_size=12), CHATS)
PRESSES = st.tuples(st.just("press"), st.integers(-1, 6), CHATS)
CONFIRMED = st.tuples(st.just("confirmed"), st.sampled_from(["kill", "pause"]), CHATS)
WAITS = st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, VALID_S - 0.001, VALID_S, 61.0]), CHATS)
RAW = st.tuples(
    st.just("raw"),
    st.dictionaries(
        st.sampled_from(["message", "callback_query", "edited_message", "channel_post", "my_chat_member"]),
        st.fixed_dictionaries(
            {
                "chat": st.just({"id": OURS.chat_id}) | st.none(),
                "message": st.just({"chat": {"id": OURS.chat_id}}) | st.none(),
                "id": st.just("7") | st.integers(),
                "from": st.just({"id": 1, "username": "anna"}) | st.text(max_size=3),
                "text": st.sampled_from(["/kill", "/pause", "/resume"]) | st.text(max_size=6),
                "data": st.sampled_from(["kill:", "resume:t0", "NORMAL"]) | st.text(max_size=6),
                "date": st.integers(-1, 2_000_000_000),
            }
        ),
        max_size=2,
    ),
    CHATS,
)
BOT = st.tuples(
    st.just("bot"), st.sampled_from([(ControlState.REDUCE_ONLY, "disk"), (ControlState.HALTED, "orphan_order")]), CHATS
)
STEPS = st.lists(CONFIRMED | COMMANDS | PRESSES | WAITS | RAW | BOT, max_size=14)


def step(chat: Chat, kind: str, what: object, sender: object) -> None:
    """Do one thing to the chat."""
    if kind == "write":
        chat.write(f"/{what}", sender)  # type: ignore[arg-type]
    elif kind == "confirmed":
        chat.write(f"/{what}")
        chat.press(chat.line.buttons()[-1], sender)  # type: ignore[arg-type]
    elif kind == "press":
        tokens = [data.partition(":")[2] for data in chat.line.buttons()]
        chosen = tokens[what] if isinstance(what, int) and 0 <= what < len(tokens) else "resume"
        chat.press(f"resume:{chosen}", sender)  # type: ignore[arg-type]
    elif kind == "wait":
        chat.wait(float(what))  # type: ignore[arg-type]
    elif kind == "raw":
        found = read_update({"update_id": 7, **what})  # type: ignore[dict-item]
        chat.desk.handle([found] if found else [], after_absence=True)
    chat.desk.settle()


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_no_sequence_of_messages_loosens_the_control_state_or_makes_an_order(
    steps: list[tuple[str, object, object]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, a_chat(Path(folder)) as (chat, store):
        before = chat.control()
        for kind, what, sender in steps:
            if kind == "bot":
                state, reason = what  # type: ignore[misc]
                if is_tighter(state, before.state):
                    store.set_control(state, reason, "engine", AT)
            else:
                step(chat, kind, what, sender)
            after = chat.control()
            assert not is_tighter(before.state, after.state)
            assert kept_or_grown(before, after)
            before = after
        assert count_of(chat.book, "intents") == 0
        assert count_of(chat.book, "fills") == 0
        pressed_by_us = [json.loads(line) for line in lines_of(chat) if json.loads(line)["outcome"] == "committed"]
        assert all(row["who"] == str(OURS) for row in pressed_by_us)


def kept_or_grown(before: Control, after: Control) -> bool:
    """Whether nothing changed, or a stricter state or another cause was committed under a later epoch."""
    if after.epoch == before.epoch:
        return after == before
    return after.epoch > before.epoch and after.state is not ControlState.NORMAL


def count_of(book: Path, table: str) -> int:
    with closing(sqlite3.connect(book)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def lines_of(chat: Chat) -> list[str]:
    return chat.audit.path.read_text().splitlines() if chat.audit.path.exists() else []
