"""Why one variant is better than another: diagnostics from the predictions of a run.

The definitions, their sources and their limits are in ``docs/diagnostics.md``.
"""
