"""Scores of predictions against truth: video AP and object recall, and the files they need."""
