"""End-to-end stories: a real cluster, real Triton, live traffic through a real gateway.

They read as prose and assert on conditions and on what clients received, never on logs.
"""
