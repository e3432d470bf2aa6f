"""Published checkpoints <-> ours: one file per family says which name there is which here."""

from videomt_bench.weights.checking import Difference, check_weights
from videomt_bench.weights.converting import Conversion, convert_weights
from videomt_bench.weights.describing import describe
from videomt_bench.weights.identify import Weights, WeightsInfo, identify, open_weights
from videomt_bench.weights.loading import build_model, fill, fitted, inspect_weights, load_weights
from videomt_bench.weights.matching import MatchReport

__all__ = [
    "Conversion",
    "Difference",
    "MatchReport",
    "Weights",
    "WeightsInfo",
    "build_model",
    "check_weights",
    "convert_weights",
    "describe",
    "fill",
    "fitted",
    "identify",
    "inspect_weights",
    "load_weights",
    "open_weights",
]
