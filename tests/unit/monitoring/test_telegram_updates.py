"""Raw updates become commands, presses, or nothing; no update, however odd, is an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import from_ms
from monitoring.telegram_updates import LARGEST_UPDATE_ID, Command, Other, Press, Sender, read_update

SENDER = Sender(-100_123_456_789, "@anna")
CHAT = {"id": -100_123_456_789, "type": "group"}
USER = {"id": 777_001, "username": "anna"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "update_id",
        "message",
        "callback_query",
        "chat",
        "from",
        "id",
        "text",
        "date",
        "data",
        "username",
        "edited_message",
    ]
)
ODD = st.recursive(JSON, lambda inner: st.dictionaries(NAMES, inner, max_size=6), max_leaves=20)


def message(text: object = "/why btc/usdc", **changed: object) -> dict[str, Any]:
    return {"update_id": 5, "message": {"date": 1_700_000_000, "chat": CHAT, "from": USER, "text": text, **changed}}


def test_a_message_with_a_slash_is_a_command() -> None:
    assert read_update(message()) == Command(5, SENDER, "why", "btc/usdc", from_ms(1_700_000_000_000))


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("/KILL", "kill", ""),
        ("/kill@bn_ml_bot", "kill", ""),
        ("/why@bn_ml_bot  BTC ", "why", "BTC"),
        ("/", "", ""),
        ("/kill\nnow", "kill\nnow", ""),
        ("/" + "x" * 500, "x" * 199, ""),
    ],
)
def test_the_name_of_a_command_is_what_follows_the_slash(text: str, name: str, argument: str) -> None:
    found = read_update(message(text))
    assert isinstance(found, Command)
    assert (found.name, found.argument) == (name, argument)


@pytest.mark.parametrize(
    "raw",
    [
        message("kill"),
        message(None),
        message(["/kill"]),
        message(date=None),
        message(date=-1),
        message(date=10**12),
        message(date=True),
        {"update_id": 5, "edited_message": message()["message"]},
        {"update_id": 5, "channel_post": message()["message"]},
        {"update_id": 5, "message": "/kill"},
        {"update_id": 5},
    ],
)
def test_anything_else_asks_for_nothing(raw: dict[str, Any]) -> None:
    assert isinstance(read_update(raw), Other)


@pytest.mark.parametrize("chat", [None, {}, {"id": "1"}, {"id": True}, {"id": 1.0}, {"id": 2**60}])
def test_a_message_from_no_known_chat_has_no_sender(chat: object) -> None:
    assert read_update(message(chat=chat)) == Other(5, None)


@pytest.mark.parametrize("raw", [None, [], "x", 1, {}, {"update_id": "5"}, {"update_id": -1}, {"update_id": True}])
def test_what_has_no_number_is_no_update(raw: object) -> None:
    assert read_update(raw) is None


def test_a_number_no_update_can_have_does_not_move_the_mark() -> None:
    assert read_update({"update_id": LARGEST_UPDATE_ID - 1}) == Other(LARGEST_UPDATE_ID - 1)
    assert read_update({"update_id": LARGEST_UPDATE_ID}) is None


def test_a_pressed_button_brings_its_data() -> None:
    press = {"id": "77", "from": USER, "message": {"chat": CHAT}, "data": "kill:ab"}
    assert read_update({"update_id": 6, "callback_query": press}) == Press(6, SENDER, "77", "kill:ab")
    for missing in ("id", "data"):
        partly = {name: value for name, value in press.items() if name != missing}
        assert read_update({"update_id": 6, "callback_query": partly}) == Other(6, SENDER)
    assert read_update({"update_id": 6, "callback_query": {**press, "message": None}}) == Other(6, None)


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ({"id": 777_001, "username": "an, na"}, "user ..7001"),
        ({"id": 777_001}, "user ..7001"),
        ({"id": "x"}, "unknown user"),
        (None, "unknown user"),
        ({"id": 1, "username": "kill_switch"}, "@kill_switch"),
    ],
)
def test_users_are_named_by_harmless_letters(user: object, shown: str) -> None:
    found = read_update(message(**{"from": user}))
    assert isinstance(found, Command)
    assert str(found.sender) == f"telegram chat ..6789 {shown}"


@given(ODD)
def test_no_update_is_an_error(raw: object) -> None:
    read_update(raw)
