"""A Telegram Bot API on loopback for one bot: updates that wait until confirmed, messages sent, and troubles."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "7654321:AAtoken-of_the_fake_bot-0123456789"
CHAT = -1001234567890
USER = {"id": 777001, "is_bot": False, "first_name": "Anna", "username": "anna"}


@dataclass(frozen=True)
class Sent:
    """A message the bot sent; `data` is what its button carries."""

    chat_id: int
    text: str
    data: str = ""


class BotApiServer:
    """Keeps updates as the real one does: each poll confirms what is below its offset; a newer poll ends an older."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.pressed: list[tuple[str, str]] = []
        self.polls: list[dict[str, Any]] = []
        self.troubles: deque[tuple[int, bytes]] = deque()
        self.hangs = False
        self.forgets_nothing = False
        self.webhook = ""
        self._waiting: list[dict[str, Any]] = []
        self._next_id = 501
        self._poll = 0
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> BotApiServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def write(self, text: str, at_s: int, *, chat: int = CHAT, user: object = USER) -> int:
        """Somebody writes a message."""
        message = {"message_id": 1, "date": at_s, "chat": {"id": chat, "type": "private"}, "from": user, "text": text}
        return self.put(message=message)

    def press(self, data: str, *, chat: int = CHAT, user: object = USER) -> int:
        """Somebody presses a button."""
        message = {"message_id": 2, "date": 0, "chat": {"id": chat, "type": "private"}}
        return self.put(callback_query={"id": f"press-{self._next_id}", "from": user, "message": message, "data": data})

    def put(self, **update: object) -> int:
        with self._changed:
            update_id = self._next_id
            self._next_id += 1
            self._waiting.append({"update_id": update_id, **update})
            self._changed.notify_all()
        return update_id

    def put_raw(self, raw: object) -> None:
        with self._changed:
            self._waiting.append(raw)  # type: ignore[arg-type]
            self._changed.notify_all()

    def buttons(self) -> list[str]:
        return [item.data for item in self.sent if item.data]

    def texts(self) -> str:
        return "\n".join(item.text for item in self.sent)

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Answer one request as the real one would."""
        if self.hangs:
            self._over.wait(30)
            return 502, b"gateway"
        if self.troubles:
            return self.troubles.popleft()
        if not path.startswith(f"/bot{TOKEN}/"):
            return failure(401, "Unauthorized")
        asked = json.loads(body or b"{}")
        method = path.rpartition("/")[2]
        return getattr(self, f"_{method}")(asked)

    def _getUpdates(self, asked: dict[str, Any]) -> tuple[int, bytes]:  # noqa: N802
        if self.webhook:
            return failure(409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook")
        with self._changed:
            self.polls.append(asked)
            self._poll += 1
            mine, offset = self._poll, asked.get("offset", 0)
            self._changed.notify_all()
            if not self.forgets_nothing:
                self._waiting = [item for item in self._waiting if _id_of(item) >= offset]
            self._changed.wait_for(lambda: self._waiting or self._poll != mine or self._over.is_set(), asked["timeout"])
            if self._poll != mine:
                return failure(409, "Conflict: terminated by other getUpdates request; only one bot instance may run")
            return success(self._waiting[:100])

    def _sendMessage(self, asked: dict[str, Any]) -> tuple[int, bytes]:  # noqa: N802
        rows = asked.get("reply_markup", {}).get("inline_keyboard", [[{}]])
        self.sent.append(Sent(asked["chat_id"], asked["text"], rows[0][0].get("callback_data", "")))
        return success({"message_id": len(self.sent)})

    def _answerCallbackQuery(self, asked: dict[str, Any]) -> tuple[int, bytes]:  # noqa: N802
        self.pressed.append((asked["callback_query_id"], asked["text"]))
        return success(True)

    def _deleteWebhook(self, asked: dict[str, Any]) -> tuple[int, bytes]:  # noqa: N802
        assert asked == {"drop_pending_updates": False}
        self.webhook = ""
        return success(True)


def success(result: object) -> tuple[int, bytes]:
    return 200, json.dumps({"ok": True, "result": result}).encode()


def failure(code: int, description: str, **parameters: object) -> tuple[int, bytes]:
    body: dict[str, object] = {"ok": False, "error_code": code, "description": description}
    return code, json.dumps({**body, **({"parameters": parameters} if parameters else {})}).encode()


def _id_of(item: Any) -> float:
    found = item.get("update_id") if isinstance(item, dict) else None
    return found if isinstance(found, int) else float("inf")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    api: BotApiServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, said = self.server.api.answer(self.path, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
