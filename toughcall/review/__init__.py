"""The review page: what the model doubts, what the experts said, what the gate decided; people decide on it too."""

from __future__ import annotations


def main() -> None:
    """Draw the page of the project that TOUGHCALL_PROJECT names, or of the working folder."""
    from toughcall.review.page import show

    show()
