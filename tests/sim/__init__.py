"""The fault simulator: the real money path on a virtual clock against the venue, everything decided by one integer."""
