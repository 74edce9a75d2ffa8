"""Simulates rollouts to see how often, how late and at what price each way to decide is wrong.

No cluster is needed: what is simulated is counts from look to look, and what is judged is the rule.
docs/decisions-bench.md says what was assumed and what was found.
"""
