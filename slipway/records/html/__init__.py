"""The release report as one HTML file: it opens from disk, asks nothing of any network, and prints."""

from slipway.records.html.page import render

__all__ = ["render"]
