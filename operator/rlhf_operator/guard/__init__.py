"""The guard: a sidecar before each model server that checks, counts and labels every answer.

Knows the API types and metric names, not the operator.
"""
