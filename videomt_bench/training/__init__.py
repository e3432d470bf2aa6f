"""Losses, matching, parameter groups, schedules, and the thin glue to mmengine."""
