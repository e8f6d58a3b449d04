"""A training job on another machine: started by one request, looked at until it ends, its archive's address taken.

The API key goes to the host that starts jobs and to no other; a state asked at another host is asked without it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from bn_ml.errors import BnMlError, ConfigError
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.ports import Clock
from bn_ml.settings import RunpodSettings
from monitoring.outgoing_address import AddressRefused, Target, target_of
from monitoring.outgoing_http import OutgoingHttp

log = logging.getLogger("bnml.model_sync")

SUCCEEDED = frozenset({"COMPLETED", "SUCCEEDED", "SUCCESS"})
FAILED = frozenset({"FAILED", "ERROR", "CANCELED", "CANCELLED", "TIMED_OUT", "TIMEOUT"})
ID_FIELDS = ("id", "job_id", "requestId")
URL_FIELDS = ("models_archive_url", "model_archive_url", "download_url")
PLACE = "{job_id}"
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PASSING = frozenset({408, 425, 429})
_MOST_UNUSABLE = 20

Fields = Mapping[str, object]


class RemoteJobFailed(BnMlError):
    """The job did not start, failed, took too long or left no archive; the message holds no key and no address."""


@dataclass(frozen=True, slots=True)
class RemoteArchive:
    """Where the archive of a finished job is, and its SHA-256 as the job told it (empty when it did not).

    The address is secret: it may carry a signature.
    """

    url: str
    sha256: str = ""


class RemoteTrainingJob:
    """Starts one job and waits for it."""

    def __init__(self, settings: RunpodSettings, api_key: str, clock: Clock) -> None:
        """Judge the addresses; raises `ConfigError` for what cannot be used. Nothing is sent yet."""
        self._settings = settings
        self._clock = clock
        self._trigger = _door(settings.trigger_url, "trigger_url", clock, settings.request_timeout_sec)
        self._asks = _state_address(settings.status_url_template)
        own = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._headers = {"Accept": "application/json", **settings.headers, **own}

    def run(self, payload: Fields) -> RemoteArchive:
        """Start the job and give its archive once it is done; raises `RemoteJobFailed`."""
        until_s = self._clock.monotonic() + self._settings.job_timeout_sec
        answer = self._start(payload)
        state = _state(answer)
        if state not in SUCCEEDED:
            job_id = _job_id(answer)
            log.info("remote training started job=%s host=%s", job_id, self._trigger.target.host)
            answer = self._awaited(job_id, until_s)
        return _archive(answer)

    def _start(self, payload: Fields) -> Fields:
        method = self._settings.trigger_method
        body = b"" if method == "GET" else json.dumps(payload).encode()
        host = self._trigger.target.host
        try:
            headers = {**self._headers, **({"Content-Type": "application/json"} if body else {})}
            answer = self._trigger.request(method, body=body, headers=headers)
        except (NoAnswer, AddressRefused) as error:
            raise RemoteJobFailed(f"the job may not have started: {error}") from None
        if not 200 <= answer.status < 300:
            hint = f"; is {self._settings.api_key_env} right?" if answer.status in (401, 403) else ""
            raise RemoteJobFailed(f"{host} answered {answer.status}, the job was not started{hint}")
        fields = _fields(answer)
        if fields is None:
            raise RemoteJobFailed(f"{host} answered with something other than a JSON object")
        _require_not_failed(fields)
        return fields

    def _awaited(self, job_id: str, until_s: float) -> Fields:
        """Look until the job ends; answers that cannot be used are passed over, a number of them."""
        door, path, headers = self._door_of(job_id)
        unusable = 0
        while True:
            fields = self._look(door, path, headers)
            unusable = unusable + 1 if fields is None else 0
            if fields is not None:
                _require_not_failed(fields)
                if _state(fields) in SUCCEEDED:
                    return fields
            if unusable >= _MOST_UNUSABLE:
                raise RemoteJobFailed(f"{door.target.host} gave no usable answer {unusable} times in a row")
            if self._clock.monotonic() + self._settings.poll_interval_sec > until_s:
                raise RemoteJobFailed(f"the job did not end within {self._settings.job_timeout_sec:g} s")
            self._clock.sleep_until(self._clock.now() + timedelta(seconds=self._settings.poll_interval_sec))

    def _door_of(self, job_id: str) -> tuple[OutgoingHttp, str, Mapping[str, str]]:
        address = self._settings.status_url_template.replace(PLACE, job_id)
        door = _door(address, "status_url_template", self._clock, self._settings.request_timeout_sec)
        same = _origin(door.target) == _origin(self._trigger.target)
        return door, door.target.path, self._headers if same else {"Accept": "application/json"}

    def _look(self, door: OutgoingHttp, path: str, headers: Mapping[str, str]) -> Fields | None:
        """Ask once; None for an answer that says nothing. Raises `RemoteJobFailed` for a refusal."""
        try:
            answer = door.request("GET", path, headers=headers)
        except AddressRefused as error:
            raise RemoteJobFailed(str(error)) from None
        except NoAnswer as error:
            log.info("the job's state could not be read: %s", error)
            return None
        if 400 <= answer.status < 500 and answer.status not in _PASSING:
            raise RemoteJobFailed(f"{door.target.host} answered {answer.status} to the question for the job's state")
        return _fields(answer) if 200 <= answer.status < 300 else None


def shown(value: object) -> str:
    """Give a stranger's words for a message: printable, short, without addresses."""
    text = re.sub(r"\S*://\S*", "<address>", str(value))
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]


def _door(url: str, name: str, clock: Clock, timeout_s: float) -> OutgoingHttp:
    if not url.strip():
        raise ConfigError([f"model_sync.runpod.{name}: is empty; there is no default address"])
    try:
        return OutgoingHttp(url, clock, timeout_s=timeout_s)
    except AddressRefused as error:
        raise ConfigError([f"model_sync.runpod.{name}: {error}"]) from error


def _state_address(template: str) -> str:
    """Check that the job's id goes into the path or query, and that the rest is an address."""
    name = "model_sync.runpod.status_url_template"
    try:
        plain, other = (target_of(template.replace(PLACE, word)) for word in ("a", "b"))
    except AddressRefused as error:
        raise ConfigError([f"{name}: {error}" if template.strip() else f"{name}: is empty"]) from error
    if _origin(plain) != _origin(other) or plain.path == other.path:
        raise ConfigError([f"{name}: write {PLACE} once, in the path or query of the address"])
    return template


def _origin(target: Target) -> tuple[str, int, bool]:
    return target.host, target.port, target.encrypted


def _fields(answer: HttpAnswer) -> Fields | None:
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _state(fields: Fields) -> str:
    return str(fields.get("status", "")).strip().upper()


def _job_id(fields: Fields) -> str:
    found = next((fields[name] for name in ID_FIELDS if fields.get(name) not in (None, "")), None)
    if not isinstance(found, str | int) or not _JOB_ID.fullmatch(str(found)):
        raise RemoteJobFailed("the answer to the start names no job (id, job_id or requestId)")
    return str(found)


def _require_not_failed(fields: Fields) -> None:
    state = _state(fields)
    if state in FAILED:
        output = fields.get("output")
        told = fields.get("error") or (output.get("error") if isinstance(output, dict) else "")
        raise RemoteJobFailed(f"the job ended as {state}{f': {shown(told)}' if told else ''}")


def _archive(fields: Fields) -> RemoteArchive:
    output = fields.get("output")
    inner: Fields = output if isinstance(output, dict) else {}
    for place in (inner, fields):
        for name in URL_FIELDS:
            url = place.get(name)
            if isinstance(url, str) and url.strip():
                told = str(place.get("archive_sha256", "")).lower()
                return RemoteArchive(url.strip(), told if _DIGEST.fullmatch(told) else "")
    why = inner.get("error") or inner.get("note") or ""
    raise RemoteJobFailed(f"the job is done and names no archive{f': {shown(why)}' if why else ''}")
