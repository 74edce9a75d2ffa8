"""The straight line: observe, decide, report, act. Knows ports, and no client library."""
