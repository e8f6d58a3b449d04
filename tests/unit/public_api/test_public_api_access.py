"""Nothing private without the token off this machine, whatever the route, the name called or the relay between."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.errors import ConfigError
from bn_ml.settings import Settings
from public_api.access import Reach, reach_of
from public_api.app import Limits, paths_of
from public_api.callers import SHORTEST_TOKEN
from tests.fakes.api_books import shown_settings
from tests.fakes.api_server import FAR_AWAY, PLENTY, TOKEN, an_api, asked

OPEN_ROUTES = {"/healthz"}
MARKET_ROUTES = {
    "/",
    "/favicon.ico",
    "/assets/{name}",
    "/opportunities",
    "/api/v1/predictions",
    "/api/v1/opportunities",
    "/api/runtime/predictions",
    "/api/runtime/opportunities",
    "/api/market/index",
    "/api/v1/market/index",
    "/api/market/index/history",
    "/api/v1/market/index/history",
    "/api/market/intelligence",
    "/api/v1/market/intelligence",
    "/ws/predictions",
    "/ws/market/intelligence",
}
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return shown_settings(tmp_path_factory.mktemp("api"))


def test_the_open_and_the_market_routes_are_these_and_no_others() -> None:
    paths = paths_of(an_api(Settings()))
    assert {path for path in paths if reach_of(path) is Reach.EVERYONE} == OPEN_ROUTES
    assert {path for path in paths if reach_of(path) is Reach.MARKET} == MARKET_ROUTES


@pytest.mark.parametrize("public_market", [False, True])
def test_every_route_of_the_table_asks_a_stranger_for_the_token_but_the_open_ones(
    shown: Settings, public_market: bool
) -> None:
    app = an_api(shown, token=TOKEN, public_market=public_market)
    allowed = OPEN_ROUTES | (MARKET_ROUTES if public_market else set())
    for path in (path for path in paths_of(app) if not path.startswith("/ws/")):
        for method in ("GET", "HEAD"):
            answer = asked(app, path.replace("{name}", "site.js"), address=FAR_AWAY, method=method)
            assert (answer.status_code == 401) == (path not in allowed), path
            assert answer.status_code in (200, 401), path


def test_the_token_opens_every_route_from_anywhere(shown: Settings) -> None:
    app = an_api(shown, token=TOKEN)
    for path in (path for path in paths_of(app) if not path.startswith("/ws/")):
        answer = asked(app, path.replace("{name}", "site.js"), address=FAR_AWAY, headers=BEARER)
        assert answer.status_code == 200, path


@pytest.mark.parametrize("given_token", ["", TOKEN[:-1], TOKEN + "x", "é" * 40, "x" * 50_000])
def test_a_wrong_token_is_refused_even_on_this_machine(shown: Settings, given_token: str) -> None:
    app = an_api(shown, token=TOKEN)
    headers = {"authorization": f"Bearer {given_token}"}
    assert asked(app, "/api/v1/summary", headers=headers).status_code == 401


def test_a_token_in_the_address_opens_nothing(shown: Settings) -> None:
    app = an_api(shown, token=TOKEN)
    assert asked(app, f"/api/v1/account?token={TOKEN}", address=FAR_AWAY).status_code == 401


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip", "cf-connecting-ip"])
def test_what_a_tunnel_on_this_machine_relays_is_not_taken_for_this_machine(shown: Settings, header: str) -> None:
    app = an_api(shown, token=TOKEN)
    assert asked(app, "/api/v1/account", headers={header: "127.0.0.1"}).status_code == 401
    assert asked(app, "/api/v1/account").status_code == 200


def test_an_allowed_public_name_is_not_taken_for_this_machine(shown: Settings) -> None:
    app = an_api(shown, token=TOKEN, allowed_hosts=["bot.example.org", "localhost"])
    assert asked(app, "/api/v1/account", host="bot.example.org").status_code == 401
    assert asked(app, "/healthz", host="bot.example.org").status_code == 200


def test_a_published_container_port_counts_as_this_machine_until_a_token_is_set(shown: Settings) -> None:
    app = an_api(shown, published=True, host="0.0.0.0", allowed_hosts=["localhost", "api"])
    assert asked(app, "/api/v1/account", address="172.18.0.1").status_code == 200
    assert asked(app, "/metrics", address="172.18.0.9", host="api:8000").status_code == 200
    assert asked(app, "/metrics", address="172.18.0.9", host="evil.org").status_code == 400
    guarded = an_api(shown, published=True, token=TOKEN, host="0.0.0.0")
    assert asked(guarded, "/api/v1/account", address="172.18.0.9").status_code == 401


@pytest.mark.parametrize("host", ["evil.org", "localhost.evil.org", "127.0.0.1.evil.org", "localhost:x", "[::1", ""])
def test_a_foreign_host_name_is_refused(shown: Settings, host: str) -> None:
    assert asked(an_api(shown), "/healthz", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.org", "null", "http://localhost:9999", "https://localhost", ""])
def test_a_page_from_elsewhere_may_not_call(shown: Settings, origin: str) -> None:
    answer = asked(an_api(shown), "/api/v1/summary", headers={"origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_named_page_may_call_and_is_told_so(shown: Settings) -> None:
    app = an_api(shown, cors_origins=["https://desk.example.org"])
    headers = {"origin": "https://desk.example.org"}
    assert asked(app, "/api/v1/summary", headers=headers).headers["access-control-allow-origin"] == headers["origin"]
    before = {**headers, "access-control-request-method": "GET"}
    answer = asked(app, "/api/v1/summary", method="OPTIONS", headers=before)
    assert answer.status_code == 204
    assert "Authorization" in answer.headers["access-control-allow-headers"]


def test_any_page_may_call_the_market_routes_only(shown: Settings) -> None:
    app = an_api(shown, cors_origins=["*"])
    headers = {"origin": "http://anywhere.org"}
    assert asked(app, "/api/market/index", headers=headers).headers["access-control-allow-origin"] == "*"
    for path in ("/api/v1/account", "/metrics", "/healthz", "/api/models"):
        assert asked(app, path, headers=headers).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_only_reading_is_allowed(shown: Settings, method: str) -> None:
    answer = asked(an_api(shown), "/api/v1/summary", method=method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("wanted", "token", "words"),
    [
        ({"host": "0.0.0.0"}, "", "open to others"),
        ({"host": "192.168.1.5"}, "", "open to others"),
        ({}, "x" * (SHORTEST_TOKEN - 1), "shorter than"),
        ({"cors_origins": ["*"]}, TOKEN, "refused together"),
    ],
)
def test_what_must_not_be_served_is_refused_with_the_fix(wanted: dict[str, object], token: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        an_api(Settings(), token=token, **wanted)


def test_a_token_of_just_enough_bytes_is_accepted() -> None:
    an_api(Settings(), token="x" * SHORTEST_TOKEN, host="0.0.0.0")


def test_the_eleventh_request_of_a_second_waits_and_another_address_does_not(shown: Settings) -> None:
    app = an_api(shown, token=TOKEN, limits=Limits(requests_per_s=0.001, burst=10))
    codes = [asked(app, "/healthz").status_code for _ in range(11)]
    assert codes == [200] * 10 + [429]
    assert int(asked(app, "/healthz").headers["retry-after"]) > 0
    assert asked(app, "/healthz", address=FAR_AWAY).status_code == 200


def test_a_stranger_hears_of_health_and_nothing_more(shown: Settings) -> None:
    app = an_api(shown, token=TOKEN)
    shy = {name for name, value in asked(app, "/healthz", address=FAR_AWAY).json().items() if value is not None}
    assert shy == {"status", "generated_at", "data_at", "age_sec", "stale"}
    full = asked(app, "/healthz", address=FAR_AWAY, headers=BEARER).json()
    assert (full["db_available"], full["model_bundles"], full["control_state"]) == (True, 2, "NORMAL")


@settings(max_examples=60, deadline=None)
@given(path=st.text(alphabet=st.characters(codec="ascii", exclude_characters="?#"), max_size=40))
def test_no_path_whatsoever_tells_a_stranger_anything(path: str) -> None:
    app = _guarded()
    target = "/" + "".join(f"%{ord(letter):02x}" for letter in path)
    answer = asked(app, target, address=FAR_AWAY)
    decoded = "/" + path
    assert answer.status_code == 401 or reach_of(decoded) is Reach.EVERYONE


_KEPT: list[object] = []


def _guarded():  # type: ignore[no-untyped-def]  # noqa: ANN202
    if not _KEPT:
        _KEPT.append(an_api(Settings(), token=TOKEN, limits=PLENTY))
    return _KEPT[0]
