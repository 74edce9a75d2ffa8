"""The rules, one function each, named by the fact that it detects.

A rule takes `Observed` and answers with a `Decision` or with None. Their order is in
`core/rollout.py`, and that order is the behaviour.
"""
