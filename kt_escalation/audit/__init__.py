"""The audit: is every step of a store's history legal, would this request's be, are this push's."""

from .check import Actor, check
from .hook import receive
from .report import Report, told
from .verify import verify

__all__ = ["Actor", "Report", "check", "receive", "told", "verify"]
