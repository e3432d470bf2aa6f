"""Means, intervals and p-values; how often each video is drawn, for every metric."""
