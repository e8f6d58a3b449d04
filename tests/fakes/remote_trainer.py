"""A service like RunPod on loopback: it starts a job on request, tells its state, and a bucket keeps the archive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bn_ml.settings import RunpodSettings
from tests.fakes.loopback_service import Asked, Reply

JOB = "job-1a2b"
KEY = "rk-canary-0123456789"
QUICK: dict[str, object] = {
    "request_timeout_sec": 1,
    "poll_interval_sec": 1,
    "job_timeout_sec": 10,
    "download_timeout_sec": 1,
}


@dataclass
class Jobs:
    """Answers a start with `start`, questions with `states` one after the other, the last one again and again."""

    states: Sequence[object] = ({"id": JOB, "status": "IN_QUEUE"},)
    start: object = field(default_factory=lambda: {"id": JOB, "status": "IN_QUEUE"})
    looks: int = 0

    def __call__(self, asked: Asked) -> Reply:
        if asked.path.startswith("/run"):
            return _reply(self.start)
        state = self.states[min(self.looks, len(self.states) - 1)]
        self.looks += 1
        return _reply(state)


@dataclass
class Bucket:
    """Keeps what is put, gives it back; a presigned address needs its signature, and only for putting."""

    content: dict[str, bytes] = field(default_factory=dict)
    signature: str = ""
    first_replies: list[Reply] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Reply:
        if self.first_replies:
            return self.first_replies.pop(0)
        path, _, query = asked.path.partition("?")
        if asked.method == "PUT":
            if query != self.signature:
                return Reply(403, b"signature does not match")
            self.content[path] = asked.body
            return Reply(200)
        return Reply(200, self.content[path]) if path in self.content else Reply(404, b"no such key")


def _reply(state: object) -> Reply:
    if isinstance(state, Reply):
        return state
    made = state() if isinstance(state, Callable) else state  # type: ignore[arg-type]
    return made if isinstance(made, Reply) else Reply.of(made)


def runpod_settings(
    trigger: str, *, status: str = "", hosts: Sequence[str] = ("localhost",), **more: object
) -> RunpodSettings:
    fields: dict[str, object] = {
        **QUICK,
        "enabled": True,
        "trigger_url": f"{trigger}/run",
        "status_url_template": f"{status or trigger}/status/{{job_id}}",
        "allowed_download_hosts": tuple(hosts),
    }
    return RunpodSettings.model_validate({**fields, **more})
