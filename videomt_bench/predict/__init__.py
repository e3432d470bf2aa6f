"""A trained model on real video: frames in, tracks, segments and overlays out, as they come."""
