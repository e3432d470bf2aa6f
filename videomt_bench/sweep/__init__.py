"""Expand an experiment, launch it with submitit, watch it."""
