"""A report as one HTML page that needs nothing but itself."""

from videomt_bench.report.page.document import PageFigure, html_page, page_figure

__all__ = ["PageFigure", "html_page", "page_figure"]
