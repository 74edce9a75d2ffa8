"""The one error of ours: the outside world did not do it, try again after a while."""

from __future__ import annotations


class Transient(Exception):  # noqa: N818 - named by what it means for the caller
    """The outside world did not do it; try again after a while."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
