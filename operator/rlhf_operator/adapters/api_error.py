"""What the API server answers when it says no."""

from __future__ import annotations


class ApiError(Exception):
    """The API server said no, with a status code that the caller may expect."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
