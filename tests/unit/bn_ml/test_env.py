"""Reading `.env` files and keeping what they hold unseen."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bn_ml.env import Secrets, load_env, loose_permissions, parse_env
from bn_ml.errors import ConfigError
from bn_ml.redaction import RedactionFilter, Redactor, redact_handlers


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=1", "1"),
        ("export A=1", "1"),
        ("  export   A = 1  ", "1"),
        ("A=", ""),
        ("A=1 # note", "1"),
        ("A=#note", ""),
        ("A=1#2", "1#2"),
        ("A='1 # 2' # note", "1 # 2"),
        ('A="1 # 2"', "1 # 2"),
        ('A="a\\"b\\n"', 'a"b\n'),
        ("A='a\\n'", "a\\n"),
        ("A=a=b==", "a=b=="),
        ("A=a b", "a b"),
        ('A=""', ""),
    ],
)
def test_line_of_an_env_file_is_understood(line: str, expected: str) -> None:
    assert parse_env(line) == {"A": expected}


def test_blank_lines_comments_and_crlf_are_skipped() -> None:
    assert parse_env("# note\r\n\r\nA=1\r\nB=2\r\nA=3\r\n") == {"A": "3", "B": "2"}


@pytest.mark.parametrize(
    "line", ["hunter22", "1A=hunter22", "A='hunter22", 'A="hunter22', "A='x' hunter22", "A-B=hunter22"]
)
def test_bad_line_is_named_by_number_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigError, match="line 2: write NAME=value") as refusal:
        parse_env(f"B=1\n{line}\n")
    assert "hunter22" not in str(refusal.value)


def test_process_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\ufeffA=file\nB=file\n", encoding="utf-8")
    assert load_env(tmp_path, {"A": "process"}) == {"A": "process", "B": "file"}


def test_absent_file_leaves_the_process_environment(tmp_path: Path) -> None:
    assert load_env(tmp_path, {"A": "process"}) == {"A": "process"}


def test_secrets_are_read_directly_and_from_files(tmp_path: Path) -> None:
    held = tmp_path / "secret"
    held.write_text("from-file\n", encoding="utf-8")
    environ = {"BINANCE_API_KEY": "direct", "BINANCE_API_SECRET_FILE": str(held), "MY_KEY": "remote"}
    secrets = Secrets.from_environ(environ, runpod_variable="MY_KEY")
    assert (secrets.binance_api_key, secrets.binance_api_secret) == ("direct", "from-file")
    assert secrets.runpod_api_key == "remote"
    assert secrets.email_smtp_port == 587
    assert secrets.signing_key_file is None


def test_all_secret_problems_are_listed_at_once(tmp_path: Path) -> None:
    environ = {
        "BNML_API_TOKEN": "hunter22",
        "BNML_API_TOKEN_FILE": "x",
        "EMAIL_PASSWORD_FILE": str(tmp_path / "absent"),
        "EMAIL_SMTP_PORT": "many",
    }
    with pytest.raises(ConfigError) as refusal:
        Secrets.from_environ(environ)
    assert [line.partition(":")[0] for line in refusal.value.problems] == [
        "EMAIL_PASSWORD_FILE",
        "BNML_API_TOKEN",
        "EMAIL_SMTP_PORT",
    ]
    assert "hunter22" not in str(refusal.value)


def test_secrets_never_show_their_values() -> None:
    secrets = Secrets(binance_api_key="hunter22", api_token="swordfish")
    shown = f"{secrets} {secrets!r} {[secrets]}"
    assert "hunter22" not in shown
    assert "swordfish" not in shown
    assert repr(secrets) == "Secrets(set: binance_api_key, api_token)"
    assert repr(Secrets()) == "Secrets(set: none)"


def test_hidden_texts_are_the_given_secrets() -> None:
    secrets = Secrets(binance_api_key="hunter22", email_smtp_host="mail.example", email_password="swordfish")
    assert secrets.hidden() == ("hunter22", "swordfish")


@pytest.mark.parametrize(
    ("mode", "loose"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o644, True), (0o700, True)]
)
def test_file_others_may_read_is_named_with_the_fix(tmp_path: Path, mode: int, loose: bool) -> None:
    path = tmp_path / ".env"
    path.write_text("", encoding="utf-8")
    path.chmod(mode)
    complaint = loose_permissions(path)
    assert (complaint is not None) is loose
    assert complaint is None or complaint.endswith(f"chmod 600 {path}")


def test_absent_file_is_not_loose(tmp_path: Path) -> None:
    assert loose_permissions(tmp_path / ".env") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sent hunter22!", "sent ***!"),
        ("https://api.telegram.org/bot12:AB-c_d/sendMessage", "https://api.telegram.org/bot***/sendMessage"),
        ("/api/v3/order?symbol=A&signature=ab12&x=1", "/api/v3/order?symbol=A&signature=***&x=1"),
        ("{'X-MBX-APIKEY': 'abc'}", "{'X-MBX-APIKEY': '***'}"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("https://user:pw@host.example/x", "https://user:***@host.example/x"),
        ("p%40ss%2Fword in a url", "*** in a url"),
        ("written to configs/bot.yaml, then state/bot.db", "written to configs/bot.yaml, then state/bot.db"),
        ("nothing to hide at /robots and 12:30:00", "nothing to hide at /robots and 12:30:00"),
    ],
)
def test_secret_is_taken_out_of_a_text(text: str, expected: str) -> None:
    assert Redactor(["hunter22", "p@ss/word"]).clean(text) == expected


def test_short_secrets_do_not_blank_the_text() -> None:
    assert Redactor(["a", ""]).clean("a cat") == "a cat"


class Recorded(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.extras: list[object] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter("%(name)s %(message)s").format(record))
        self.extras.append(record.__dict__.get("answer"))


def a_logger(name: str) -> tuple[logging.Logger, Recorded]:
    parent = logging.getLogger(name)
    parent.propagate = False
    parent.setLevel(logging.INFO)
    handler = Recorded()
    parent.handlers = [handler]
    redact_handlers(parent, Redactor(["hunter22"]))
    return parent.getChild("child"), handler


def test_message_arguments_and_extras_of_a_child_logger_are_cleaned() -> None:
    logger, handler = a_logger("redaction.arguments")
    logger.info("key %s at %s", "hunter22", ["/bot1:x/y"], extra={"answer": {"key": "hunter22"}})
    assert handler.lines == ["redaction.arguments.child key *** at ['/bot***/y']"]
    assert handler.extras == ["{'key': '***'}"]


def test_exception_text_is_cleaned() -> None:
    logger, handler = a_logger("redaction.exception")
    try:
        raise ValueError("refused hunter22")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: refused ***" in handler.lines[0]
    assert "hunter22" not in handler.lines[0]


def test_arguments_that_do_not_fit_lose_no_record() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%d", ("hunter22",), None)
    assert RedactionFilter(Redactor(["hunter22"])).filter(record)
    assert record.getMessage() == "%d ('***',)"
