"""The paper exchange among the exchanges of the money path; the data manager opens the same one for users' scripts."""

from __future__ import annotations

from bn_ml.paper_exchange import MAX_QUOTE_AGE, PaperExchange, open_paper_exchange, starting_capital

__all__ = ["MAX_QUOTE_AGE", "PaperExchange", "open_paper_exchange", "starting_capital"]
