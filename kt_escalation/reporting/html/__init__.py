"""The report as a page of HTML."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..overview import Overview
    from .page import ReportPage


def page_writer() -> Callable[[Overview], ReportPage]:
    """`page.page`, which needs the libraries of the extra `report`. Raises MissingExtra if one is not installed."""
    try:
        from .page import page
    except ModuleNotFoundError as error:
        from .. import extras

        raise extras.missing("report", "report", error) from None
    return page
