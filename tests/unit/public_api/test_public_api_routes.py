"""Each route answers what it promises: fields, pages, filters, errors, tags, ages."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import zipfile
from pathlib import Path

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import iso
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from public_api.app import paths_of
from public_api.position_figures import position_row
from public_api.site_files import site_files
from tests.checker.good_book import START
from tests.fakes.api_books import (
    CYCLES,
    END,
    MOOD,
    SCAN_ROWS,
    a_bundle_folder,
    a_traded_book,
    api_settings,
    shown_settings,
)
from tests.fakes.api_server import FAR_AWAY, TOKEN, an_api, asked

EXAMPLES = int(os.environ.get("BNML_API_FUZZ", "120"))
LISTS = ("/api/v1/positions?status=all", "/api/v1/trades", "/api/v1/predictions", "/api/v1/market/index/history")
ALIASES = {
    "/api/runtime/summary": "/api/v1/summary",
    "/api/runtime/account": "/api/v1/account",
    "/api/runtime/positions": "/api/v1/positions",
    "/api/runtime/trades": "/api/v1/trades",
    "/api/v1/predictions": "/opportunities",
    "/api/runtime/predictions": "/api/v1/opportunities",
    "/api/models": "/api/v1/models",
    "/api/models/download": "/api/v1/models/download",
    "/api/market/index": "/api/v1/market/index",
    "/api/market/index/history": "/api/v1/market/index/history",
    "/api/market/intelligence": "/api/v1/market/intelligence",
    "/api/training/status": "/api/v1/training/status",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return shown_settings(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def app(shown: Settings) -> FastAPI:
    return an_api(shown)


@pytest.mark.parametrize(("path", "alias"), ALIASES.items())
def test_an_alias_answers_the_same(app: FastAPI, path: str, alias: str) -> None:
    first, second = asked(app, path), asked(app, alias)
    assert (first.status_code, second.status_code) == (200, 200)
    if first.headers["content-type"] == "application/json":
        young = {"generated_at", "data_at", "age_sec", "heartbeat", "last_scan", "rows"}
        assert {k: v for k, v in first.json().items() if k not in young} == {
            k: v for k, v in second.json().items() if k not in young
        }
    else:
        assert first.content == second.content


def test_the_summary_tells_the_bot_at_a_glance(app: FastAPI) -> None:
    said = asked(app, "/api/runtime/summary").json()
    assert (said["mode"], said["control_state"], said["quote_asset"]) == ("paper", "NORMAL", "USDT")
    assert said["total_capital"] > 0
    assert said["total_cycles"] == CYCLES - 1
    assert said["heartbeat"]["cycle"] == CYCLES - 1
    assert said["last_scan"]["signals"] == {"BUY": 1, "HOLD": 1, "SELL": 1}
    assert said["alerts"] == 1
    assert said["stale"] is True


def test_an_answer_tells_how_old_its_data_is(app: FastAPI) -> None:
    for path in paths_of(app):
        answer = asked(app, path) if path.startswith(("/api/", "/health")) and "metrics" not in path else None
        if answer is not None and answer.headers["content-type"] == "application/json":
            assert {"generated_at", "data_at", "age_sec", "stale"} <= answer.json().keys(), path


def test_the_account_has_every_field_of_the_book(app: FastAPI, shown: Settings) -> None:
    with sqlite3.connect(f"file:{shown.storage.sqlite_path}?mode=ro", uri=True) as connection:
        (text,) = connection.execute("SELECT value_json FROM kv_state WHERE key = 'account_state'").fetchone()
    connection.close()
    said = asked(app, "/api/v1/account").json()
    assert {name: said[name] for name in json.loads(text)} == json.loads(text)


def test_an_open_position_has_price_distances_and_age() -> None:
    row = {
        "symbol": "BTC/USDT",
        "status": "OPEN",
        "entry_price": 100.0,
        "stop_loss": 98.0,
        "take_profit_1": 102.0,
        "take_profit_2": 105.0,
        "opened_at": iso(START),
        "extra": {"remaining_base_qty": 2.0},
    }
    scan = {"at": iso(END), "rows": [dict(item) for item in SCAN_ROWS]}
    shown_row = position_row(row, scan, END)
    assert (shown_row.current_price, shown_row.price_at) == (101.5, iso(END))
    assert shown_row.unrealized_usdt == pytest.approx(3.0)
    assert shown_row.unrealized_pct == pytest.approx(0.015)
    assert shown_row.stop_distance_pct == pytest.approx(3.5 / 101.5)
    assert shown_row.take_profit_1_distance_pct == pytest.approx(0.5 / 101.5)
    assert shown_row.age_sec == (END - START).total_seconds()
    closed = position_row({**row, "status": "CLOSED", "extra": {"closed_at": iso(START)}}, scan, END)
    assert (closed.current_price, closed.age_sec) == (None, 0.0)


def test_positions_are_given_by_status(app: FastAPI) -> None:
    rows = asked(app, "/api/v1/positions?status=all&limit=500").json()["rows"]
    for status in ("open", "closed"):
        some = asked(app, f"/api/v1/positions?status={status}&limit=500").json()["rows"]
        assert [row["symbol"] for row in some] == [row["symbol"] for row in rows if row["status"] == status.upper()]


@pytest.mark.parametrize("path", LISTS)
def test_pages_joined_are_the_whole_list(app: FastAPI, path: str) -> None:
    joint = "&" if "?" in path else "?"
    whole = asked(app, f"{path}{joint}limit=500").json()
    assert whole["returned_rows"] == whole["total_rows"] == len(whole["rows"])
    assert whole["next_offset"] is None
    rows, offset = [], 0
    while offset is not None:
        page = asked(app, f"{path}{joint}limit=2&offset={offset}").json()
        rows += page["rows"]
        offset = page["next_offset"]
    keys = ("id", "ts", "symbol")
    assert [[row.get(key) for key in keys] for row in rows] == [[row.get(key) for key in keys] for row in whole["rows"]]


def test_trades_come_newest_first_and_filters_hold(app: FastAPI) -> None:
    rows = asked(app, "/api/v1/trades?limit=500").json()["rows"]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    assert isinstance(rows[0]["extra"], dict)
    chosen = rows[len(rows) // 2]
    name = chosen["symbol"].replace("/", "_")
    some = asked(app, f"/api/v1/trades?limit=500&symbol={name}&side=BUY&mode=paper").json()["rows"]
    assert some == [row for row in rows if row["symbol"] == chosen["symbol"] and row["side"] == "BUY"]
    middle = chosen["ts"]
    before = asked(app, f"/api/v1/trades?limit=500&to={middle}").json()["rows"]
    after = asked(app, f"/api/v1/trades?limit=500&from={middle}").json()["rows"]
    assert after + before == rows
    assert all(row["ts"] >= middle for row in after)


def test_predictions_filter_by_signal_and_symbol(app: FastAPI) -> None:
    held = asked(app, "/api/v1/predictions?signal=HOLD").json()
    assert [row["symbol"] for row in held["rows"]] == ["BBB/USDT"]
    assert held["signals"] == {"BUY": 1, "HOLD": 1, "SELL": 1}
    assert asked(app, "/api/v1/predictions?symbol=CCC_USDT").json()["rows"][0]["action"] == "SELL"


def test_the_market_index_and_its_history(app: FastAPI) -> None:
    now = asked(app, "/api/market/index").json()
    assert (now["index_value"], now["signal"], now["enabled"]) == (62.5, "BULLISH", True)
    said = asked(app, "/api/market/index/history").json()
    assert [row["index_value"] for row in said["rows"]] == pytest.approx([62.5, 55.0, 50.0])
    assert said["rows"][0]["probas"] == MOOD["probas"]
    assert said["rows"][1]["probas"] is None
    assert said["latest"]["symbols"] == 2
    assert asked(app, f"/api/market/index/history?to={iso(END)}").json()["total_rows"] == 0


def test_training_status_is_not_to_be_stored(app: FastAPI) -> None:
    answer = asked(app, "/api/training/status")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["progress_pct"] == 40.0


def test_models_are_listed_with_verdict_size_and_drift(app: FastAPI) -> None:
    said = asked(app, "/api/models").json()
    row = next(row for row in said["rows"] if row["model_key"] == "BTC_USDT")
    assert (row["symbol"], row["version"], row["tradable"], row["reasons"]) == ("BTC/USDT", 3, False, ["no_skill"])
    assert (row["skill"], row["drift"], row["file_count"]) == (0.041, True, 4)
    assert (said["total_bundles"], said["total_files"]) == (2, 8)
    assert said["total_size_bytes"] == sum(item["size_bytes"] for item in said["rows"])


def test_the_archive_is_the_manifest_s_files_and_its_headers_are_true(app: FastAPI) -> None:
    answer = asked(app, "/api/models/download?model_key=BTC_USDT")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as zipped:
        names = zipped.namelist()
        assert zipped.testzip() is None
    assert sorted(names) == [
        f"BTC_USDT/{name}" for name in ("ensemble.bin", "manifest.json", "manifest.sig", "metadata.json")
    ]
    assert answer.headers["x-bnml-archive-files"] == "4"
    assert answer.headers["x-bnml-archive-bytes"] == str(len(answer.content))
    assert answer.headers["x-bnml-archive-sha256"] == hashlib.sha256(answer.content).hexdigest()
    assert "attachment" in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    ("key", "status"),
    [("../BTC_USDT", 400), ("btc_usdt", 400), ("BTC_USDT%00", 400), (".keys", 400), ("", 400), ("ZZZ_USDT", 404)],
)
def test_a_key_that_is_none_is_refused(app: FastAPI, key: str, status: int) -> None:
    assert asked(app, f"/api/models/download?model_key={key}").status_code == status


def test_an_altered_bundle_or_a_link_is_never_sent(tmp_path: Path) -> None:
    models = tmp_path / "models"
    folder = a_bundle_folder(models, "BTC_USDT")
    (folder / "ensemble.bin").write_bytes(b"other!!" * 1000)
    (models / "ETH_USDT").symlink_to(folder)
    (models / ".keys").mkdir()
    app = an_api(api_settings(tmp_path / "none.db", models))
    assert asked(app, "/api/models/download").status_code == 503
    assert asked(app, "/api/models/download?model_key=ETH_USDT").status_code == 404
    assert asked(app, "/api/models").json()["total_bundles"] == 1


def test_no_bundles_is_404(tmp_path: Path) -> None:
    app = an_api(api_settings(tmp_path / "none.db", tmp_path / "models"))
    assert asked(app, "/api/models/download").status_code == 404


@pytest.mark.parametrize("value", ["0", "501", "-1", "x", "", "1e3", "99999999999999999999"])
def test_a_limit_outside_its_range_is_told_the_range(app: FastAPI, value: str) -> None:
    answer = asked(app, f"/api/v1/trades?limit={value}")
    assert answer.status_code == 422
    assert "limit: allowed: 1-500" in answer.json()["detail"]
    assert len(answer.json()["error_id"]) == 8


@pytest.mark.parametrize("value", ["1", "500"])
def test_a_limit_at_the_edge_is_allowed(app: FastAPI, value: str) -> None:
    assert asked(app, f"/api/v1/trades?limit={value}").status_code == 200


def test_a_known_answer_is_not_sent_again_until_the_book_moves(tmp_path: Path) -> None:
    book = tmp_path / "bn_ml.db"
    a_traded_book(book)
    app = an_api(api_settings(book, tmp_path / "models"))
    tag = asked(app, "/api/v1/summary").headers["etag"]
    again = asked(app, "/api/v1/summary", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    store = StateStore(book)
    store.put("recent_alerts", [], END)
    moved = asked(app, "/api/v1/summary", headers={"if-none-match": tag})
    store.close()
    assert (moved.status_code, moved.json()["alerts"]) == (200, 0)


def test_a_head_has_the_headers_and_no_body(app: FastAPI) -> None:
    for path in ("/api/v1/summary", "/metrics", "/", "/api/models/download"):
        answer = asked(app, path, method="HEAD")
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 0


def test_every_answer_carries_the_security_headers(app: FastAPI) -> None:
    for path in ("/", "/healthz", "/nowhere", "/api/v1/summary", "/docs"):
        headers = asked(app, path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_the_site_is_a_fixed_table_of_files(app: FastAPI) -> None:
    files = site_files()
    assert {"/", "/favicon.ico", "/assets/site.js", "/assets/site.css"} <= files.keys()
    for path, file in files.items():
        answer = asked(app, path)
        assert (answer.content, answer.headers["content-type"]) == (file.body, file.media_type)
    for path in ("/assets/%2e%2e/app.py", "/assets/../app.py", "/assets/none.js", "/assets/", "/site/index.html"):
        assert asked(app, path).status_code == 404


def test_labels_are_bounded_whatever_is_asked(app: FastAPI) -> None:
    asked(app, "/metrics")
    asked(app, "/unknown")
    names = lambda: {line.split(" ")[0] for line in asked(app, "/metrics").text.splitlines()}  # noqa: E731
    before = names()
    for place in range(300):
        asked(app, f"/unknown/{place}")
    assert names() == before
    assert any("bnml_bot_up" in name for name in before)
    assert 'bnml_api_http_requests_total{method="GET",path="unmatched",status="404"}' in before


def test_the_reference_page_needs_nothing_from_elsewhere(app: FastAPI) -> None:
    page = asked(app, "/docs").text
    assert "http" not in page.replace("http_", "")
    assert "/api/runtime/summary" in page


def test_the_openapi_document_describes_every_route_once(app: FastAPI) -> None:
    document = asked(app, "/openapi.json").json()
    assert document["info"]["title"] == "BN-ML Public API"
    hidden = ("/ws/", "/assets/", "/docs", "/redoc", "/openapi.json", "/favicon.ico")
    wanted = {path for path in paths_of(app) if path != "/" and not path.startswith(hidden)}
    assert set(document["paths"]) == wanted
    ids = [item["get"]["operationId"] for item in document["paths"].values()]
    assert len(ids) == len(set(ids))
    assert all(
        "200" in item["get"]["responses"] and "503" in item["get"]["responses"] for item in document["paths"].values()
    )


PRIVATE = ("/api/v1/summary", "/api/v1/account", "/api/v1/positions", "/api/v1/trades", "/api/v1/predictions")


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 200])
def test_an_absent_or_broken_book_is_503_without_path_or_trace(tmp_path: Path, content: bytes | None) -> None:
    book = tmp_path / "bn_ml.db"
    if content is not None:
        book.write_bytes(content)
    app = an_api(api_settings(book, tmp_path / "models"))
    for path in PRIVATE:
        answer = asked(app, path)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert str(tmp_path) not in answer.text
        assert "Traceback" not in answer.text
    health = asked(app, "/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "degraded")
    assert asked(app, "/healthz", address=FAR_AWAY).status_code == 503
    assert asked(app, "/metrics").status_code == 200
    assert asked(app, "/").status_code == 200


def test_a_locked_book_is_503_at_once_for_health(tmp_path: Path) -> None:
    book = tmp_path / "bn_ml.db"
    a_traded_book(book)
    app = an_api(api_settings(book, tmp_path / "models"))
    locker = sqlite3.connect(book, isolation_level=None)
    locker.execute("PRAGMA journal_mode = DELETE")
    locker.execute("BEGIN EXCLUSIVE")
    assert asked(app, "/healthz").status_code == 503
    locker.execute("ROLLBACK")
    assert asked(app, "/healthz").status_code == 200
    locker.close()


def test_odd_values_in_the_book_are_left_out_not_stumbled_over(tmp_path: Path) -> None:
    book = tmp_path / "bn_ml.db"
    a_traded_book(book)
    store = StateStore(book)
    odd = {"at": 5, "rows": [1, {"symbol": 3}, {"symbol": "BTC/USDT", "price": "x", "probas": 7}], "data_source": []}
    for key in ("latest_scan", "account_state", "santrade_intelligence", "training_status", "heartbeat"):
        store.put(key, {**odd, "status": 9, "timestamp": 4, "equity": "much", "enabled": True}, END)
    store.close()
    app = an_api(api_settings(book, tmp_path / "models"))
    for path in (path for path in paths_of(app) if path.startswith(("/api/", "/health")) and "download" not in path):
        assert asked(app, path).status_code == 200, path


def test_looking_writes_nothing(tmp_path: Path) -> None:
    book = tmp_path / "bn_ml.db"
    a_traded_book(book)
    before = hashlib.sha256(book.read_bytes()).hexdigest()
    app = an_api(api_settings(book, tmp_path / "models"))
    for path in (path for path in paths_of(app) if not path.startswith("/ws/")):
        asked(app, path)
    assert hashlib.sha256(book.read_bytes()).hexdigest() == before


_NAMES = ("limit", "offset", "symbol", "side", "mode", "from", "to", "status", "signal", "model_key", "x")
_VALUES = st.one_of(
    st.text(max_size=12),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["1", "BTC/USDT", "BTC_USDT", "BUY", "all", "2023-06-05T01:00:00Z", "9999-12-31", "0001-01-01"]),
    st.datetimes().map(str),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_parameters_break_a_route(app: FastAPI, data: st.DataObject) -> None:
    import httpx

    paths = [path for path in paths_of(app) if not path.startswith("/ws/")]
    path = data.draw(st.sampled_from(paths))
    given_ones = data.draw(st.lists(st.tuples(st.sampled_from(_NAMES), _VALUES), max_size=4))
    query = str(httpx.QueryParams([(name, _clean(value)) for name, value in given_ones]))
    answer = asked(app, f"{path}?{query}")
    assert answer.status_code < 500, (path, query)
    if answer.status_code >= 400:
        assert answer.json().keys() == {"detail", "error_id"}
        assert TOKEN not in answer.text


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
