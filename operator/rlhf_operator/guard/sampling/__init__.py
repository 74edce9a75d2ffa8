"""Sampling: a share of the answers, without what names a person, sent to a sink.

Choice and records are pure. What waits is bounded; serving never waits for it.
"""
