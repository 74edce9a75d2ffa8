"""The operator's process: watches, one queue, leader election, the shared SLO engine."""
