"""videomt-bench: benchmark and ablation framework for online video segmentation."""

__version__ = "0.1.0"
