"""What an API key may do, as the exchange itself says."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from bn_ml.domain.account import Balance
from bn_ml.errors import ExchangeError, Transient
from bn_ml.live_exchange import LiveExchange
from trader.preflight import KeyRights

log = logging.getLogger(__name__)


def account_rights(exchange: LiveExchange) -> tuple[KeyRights | None, Mapping[str, Balance]]:
    """Ask what the key may do and what is held; nothing where the exchange refuses to say. Raises `Transient`."""
    try:
        return asked_rights(exchange)
    except Transient:
        raise
    except ExchangeError as error:
        log.error("the key's rights cannot be read error=%s", error)
        return None, {}


def asked_rights(exchange: LiveExchange) -> tuple[KeyRights, Mapping[str, Balance]]:
    """Ask what the key may do and what is held; raises `Transient`, and `ExchangeError` for a key that is refused."""
    (flags, balances), permissions = exchange.account(), exchange.api_permissions()
    if permissions is None:
        return KeyRights(flags.can_trade, None, None), balances
    may_trade = flags.can_trade and permissions.may_trade_spot
    return KeyRights(may_trade, permissions.may_withdraw, permissions.is_ip_restricted), balances
