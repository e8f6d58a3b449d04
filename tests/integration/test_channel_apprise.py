"""Alerts through the optional package Apprise, and without it."""

from __future__ import annotations

import importlib.util
import logging

import pytest

from bn_ml.clock import SystemClock
from bn_ml.env import Secrets
from monitoring.alert_channels import open_channels
from monitoring.alert_text import Message
from monitoring.channel_apprise import AppriseChannel, ServiceRefused
from monitoring.channel_failures import ChannelFailed
from tests.fakes.alert_builders import alerting
from tests.fakes.alert_receivers import WebReceiver

CLOCK = SystemClock()
HAS_APPRISE = importlib.util.find_spec("apprise") is not None
# The package itself uses what Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
needs_apprise = pytest.mark.skipif(not HAS_APPRISE, reason="apprise is not installed")


def an_address(receiver: WebReceiver) -> str:
    return f"json://127.0.0.1:{receiver.port}/planted-token"


@pytest.mark.skipif(HAS_APPRISE, reason="apprise is installed")
def test_without_the_package_it_says_how_to_install_it() -> None:
    opened = open_channels(alerting(), Secrets(apprise_urls="ntfy://planted-topic"), CLOCK)
    assert dict(opened.problems) == {
        "apprise": "the package apprise is not installed; pip install 'bn-ml[alerts]'",
    }


def test_without_addresses_it_is_not_opened() -> None:
    assert open_channels(alerting(), Secrets(), CLOCK).channels == ()


def test_each_address_is_a_secret() -> None:
    addresses = Secrets(apprise_urls="ntfy://planted-one\n discord://planted-two").hidden()
    assert {"ntfy://planted-one", "discord://planted-two"} <= set(addresses)


@needs_apprise
def test_every_service_gets_the_message() -> None:
    with WebReceiver() as one, WebReceiver() as other:
        secrets = Secrets(apprise_urls=f"{an_address(one)} {an_address(other)}")
        (channel,) = open_channels(alerting(), secrets, CLOCK).channels
        channel.send(Message("[LIVE] CRITICAL fire_and_smoke #c41f", "LIVE"))
        assert [receiver.posts[0].json["message"] for receiver in (one, other)] == [
            "[LIVE] CRITICAL fire_and_smoke #c41f"
        ] * 2


@needs_apprise
def test_a_service_that_does_not_accept_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "urllib3")  # as the bot's own logging does
    with WebReceiver(answers=[(500, b"", {})]) as receiver:
        channel = AppriseChannel([an_address(receiver)], timeout_s=2)
        with pytest.raises(ChannelFailed, match="did not accept"):
            channel.send(Message("fire", "LIVE"))
    assert "planted" not in caplog.text


@needs_apprise
def test_a_service_that_hangs_is_left_in_time_and_not_asked_meanwhile() -> None:
    with WebReceiver() as receiver:
        receiver.hangs.set()
        channel = AppriseChannel([an_address(receiver)], timeout_s=0.1)
        began_s = CLOCK.monotonic()
        for reason in ("not sent within", "still being sent"):
            with pytest.raises(ChannelFailed, match=reason):
                channel.send(Message("fire", "LIVE"))
        assert CLOCK.monotonic() - began_s < 1


@needs_apprise
def test_an_address_of_no_service_is_named_by_its_place() -> None:
    with pytest.raises(ServiceRefused, match="address 2") as caught:
        AppriseChannel(["json://127.0.0.1", "nothing-of-the-kind-planted"], timeout_s=1)
    assert "planted" not in str(caught.value)
