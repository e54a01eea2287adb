"""The report as a page of HTML."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import MissingExtra

if TYPE_CHECKING:
    from ..overview import Overview
    from .page import ReportPage


def page_writer() -> Callable[[Overview], ReportPage]:
    """`page.page`, which needs the libraries of the extra `report`. Raises MissingExtra if one is not installed."""
    try:
        from .page import page
    except ModuleNotFoundError as error:
        from ..extras import how_to_install

        raise MissingExtra(
            command="report", library=error.name, extra="report", install=how_to_install("report")
        ) from None
    return page
