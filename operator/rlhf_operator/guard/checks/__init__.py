"""The ways in which a rule finds what it looks for; `guard.rules` puts them together."""
