"""A report as one HTML page that needs nothing but itself."""

from videomt_bench.report.page.document import html_page

__all__ = ["html_page"]
