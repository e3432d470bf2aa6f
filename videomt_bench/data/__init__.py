"""Files on disk -> clips: datasets in their published layouts, and generated video in the same."""
