"""The figures of a report: what is drawn, how it looks, and its files."""
