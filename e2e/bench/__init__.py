"""Measures the operator at scale: fake nodes and a scripted Prometheus, a real API server."""
