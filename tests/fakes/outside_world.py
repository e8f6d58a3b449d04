"""The money path with its exchange outside the book, as with real money: what is restored is the book alone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bn_ml.backup import Sources, make_backup
from bn_ml.backup_store import Backup, BackupStore
from bn_ml.journal import Journal
from bn_ml.restore import Restored, restore_book
from bn_ml.state_store import StateStore
from bn_ml.venue.account import FeeRates
from bn_ml.venue.liquidity import Liquidity
from bn_ml.venue.venue import Venue
from bn_ml.venue_store import VenueStore
from tests.fakes.faulty_exchange import FaultyExchange, with_deadly_commits
from tests.fakes.money_world import CAPITAL, Bot, MoneyWorld
from trader.desk import Desk
from trader.exchanges.paper import PaperExchange


class OutsideWorld(MoneyWorld):
    """A live book beside an exchange that keeps its own account; backups of the book can be put in its place."""

    def __init__(self, folder: Path, *, mode: str = "live", **options: Any) -> None:
        self.mode = mode
        self.outside = StateStore(folder / "exchange.db")
        self.outside.session.execute("PRAGMA synchronous = OFF")
        self.backups = BackupStore(folder / "backups")
        super().__init__(folder, **options)

    def close(self) -> None:
        super().close()
        self.outside.close()

    def backup(self) -> Backup:
        return make_backup(Sources(self.path), self.backups, self.clock.now())

    def restore(self, backup: Backup) -> Restored:
        """Stop the bot, put a backup in the place of its book, and start again."""
        self.bot.store.close()
        # The wall's time is finer than what a book keeps.
        done = restore_book(self.path, backup, at=self.clock.now() + timedelta(microseconds=456))
        self.bot = self._open()
        self.start()
        return done

    def reopen(self) -> Bot:
        """Die and live again from the files."""
        self.bot.store.close()
        self.bot = self._open()
        return self.start()

    def differences(self) -> dict[str, Decimal]:
        return self.bot.reconciler.differences()

    def _opened(self, store: StateStore) -> Bot:
        store.session.execute("PRAGMA synchronous = OFF")
        store.bind_book(self.mode, "tests", self.clock.now())
        venue = Venue(
            VenueStore(self.outside),
            fees=FeeRates(maker=Decimal("0.001"), taker=Decimal("0.001")),
            liquidity=Liquidity(participation=Decimal("0.01")),
        )
        paper = PaperExchange(venue, self.market, self.clock)
        paper.fund("USDC", CAPITAL)
        if not store.ledger_balances():
            store.deposit("USDC", CAPITAL, self.clock.now(), "starting capital")
        with_deadly_commits(store, self.faults)
        journal = Journal(store, (self.recorder,))
        exchange = FaultyExchange(paper, self.faults)
        desk = Desk(store, journal, self.clock, self.market, exchange, self.settings, mode=self.mode)
        return self._joined(desk, venue, paper)
