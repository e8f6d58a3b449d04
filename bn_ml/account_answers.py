"""What the venue says of the account itself: balances, what it and its key may do, commissions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.answer_fields import Fields, Garbled
from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Side
from bn_ml.venue_names import venue_name

_PARTS = ("standardCommission", "specialCommission", "taxCommission")


@dataclass(frozen=True, slots=True)
class ApiPermissions:
    """What the key may do, and whether it works from listed addresses only."""

    may_read: bool
    may_trade_spot: bool
    may_withdraw: bool
    is_ip_restricted: bool


@dataclass(frozen=True, slots=True)
class AccountFlags:
    """What the account may do; `uid` is the venue's number of it, 0 where it gives none."""

    can_trade: bool
    can_withdraw: bool
    can_deposit: bool
    account_type: str
    uid: int = 0


@dataclass(frozen=True, slots=True)
class CommissionRates:
    """Rates of one symbol as fractions of what is received, all parts summed and no discount taken off.

    `discount_asset` is the asset that pays less, "" when the discount is off for the account or the symbol.
    """

    symbol: Symbol
    maker: Mapping[Side, Decimal]
    taker: Mapping[Side, Decimal]
    discount_asset: str = ""


def balances(value: object) -> dict[str, Balance]:
    """Read the balances that are not zero, by asset; raises `Garbled`."""
    held: dict[str, Balance] = {}
    for item in Fields.of(value).objects("balances"):
        balance = Balance(item.text("asset"), item.amount("free"), item.amount("locked"))
        if balance.asset in held:
            raise Garbled(f"{balance.asset} stands twice among the balances")
        if balance.total:
            held[balance.asset] = balance
    return held


def account_flags(value: object) -> AccountFlags:
    """Read what the account may do; raises `Garbled`."""
    fields = Fields.of(value)
    return AccountFlags(
        can_trade=fields.flag("canTrade"),
        can_withdraw=fields.flag("canWithdraw"),
        can_deposit=fields.flag("canDeposit"),
        account_type=fields.text("accountType"),
        uid=fields.count("uid") if "uid" in fields else 0,
    )


def api_permissions(value: object) -> ApiPermissions:
    """Read what the key may do; raises `Garbled`."""
    fields = Fields.of(value)
    return ApiPermissions(
        may_read=fields.flag("enableReading"),
        may_trade_spot=fields.flag("enableSpotAndMarginTrading"),
        may_withdraw=fields.flag("enableWithdrawals"),
        is_ip_restricted=fields.flag("ipRestrict"),
    )


def commission(value: object, symbol: Symbol) -> CommissionRates:
    """Read the commission rates of a symbol; raises `Garbled`."""
    fields = Fields.of(value)
    if fields.text("symbol") != venue_name(symbol):
        raise Garbled(f"commission of {fields.text('symbol')} instead of {symbol}")
    parts = [fields.object(name) for name in _PARTS if name in fields]
    if not parts:
        raise Garbled("no commission rates")
    sides = {Side.BUY: "buyer", Side.SELL: "seller"}
    rates = {
        role: {side: sum((p.amount(role) + p.amount(name) for p in parts), Decimal(0)) for side, name in sides.items()}
        for role in ("maker", "taker")
    }
    return CommissionRates(symbol, rates["maker"], rates["taker"], _discount_asset(fields))


def _discount_asset(fields: Fields) -> str:
    if "discount" not in fields:
        return ""
    discount = fields.object("discount")
    on = discount.flag("enabledForAccount") and discount.flag("enabledForSymbol")
    return discount.text("discountAsset") if on else ""
