"""From records and published numbers to statistics, tables and figures; never imports torch."""
