"""What goes wrong in a story."""


class HarnessError(Exception):
    """A failure that its message explains completely; shown without a traceback."""
