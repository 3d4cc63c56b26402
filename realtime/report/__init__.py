"""A session on one page: what happened, how fast, what was lost, and what it looked like."""

from realtime.report.page import write_report
from realtime.report.summary import summary, summary_text

__all__ = ["summary", "summary_text", "write_report"]
