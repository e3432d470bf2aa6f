"""The tables of a report: columns, captions, remarks, and their forms as text."""
