"""Contracts, the three-slot model and the parts that variants are made of."""

from videomt_bench.models.cavis import CavisTracker
from videomt_bench.models.contracts import (
    ClipOutput,
    ClipPrediction,
    Cost,
    DefersMasks,
    FrameFeatures,
    FrameOutput,
    FrameSegmenter,
    Prediction,
    QueryMemory,
    State,
    Tracker,
    VideoState,
)
from videomt_bench.models.daq import DaqTracker
from videomt_bench.models.daq_tracks import TrackLimits
from videomt_bench.models.dvis import DvisPlusTracker, DvisTracker
from videomt_bench.models.encoders import EncoderSpec, ViTEncoder, build_encoder
from videomt_bench.models.eomt import EoMT
from videomt_bench.models.gallery import load_variant, load_variants, variant_names
from videomt_bench.models.mask2former import Mask2Former
from videomt_bench.models.memories import (
    GRUCell,
    LearnedQueries,
    QueryFusion,
    QueryPropagation,
    RecurrentMemory,
)
from videomt_bench.models.offline import OfflineVideo
from videomt_bench.models.refiner import TemporalRefiner
from videomt_bench.models.track_queries import TrackQueries, TrackRules, TrackSlots
from videomt_bench.models.trackers import EmbeddingMatching, QueryIndex
from videomt_bench.models.variant import (
    DecoderSizes,
    ModelSpec,
    SlotSizes,
    TrackSelection,
    Variant,
)
from videomt_bench.models.video import VideoSegmenter

__all__ = [
    "CavisTracker",
    "ClipOutput",
    "ClipPrediction",
    "Cost",
    "DaqTracker",
    "DecoderSizes",
    "DefersMasks",
    "DvisPlusTracker",
    "DvisTracker",
    "EmbeddingMatching",
    "EncoderSpec",
    "EoMT",
    "FrameFeatures",
    "FrameOutput",
    "FrameSegmenter",
    "GRUCell",
    "LearnedQueries",
    "Mask2Former",
    "ModelSpec",
    "OfflineVideo",
    "Prediction",
    "QueryFusion",
    "QueryIndex",
    "QueryMemory",
    "QueryPropagation",
    "RecurrentMemory",
    "SlotSizes",
    "State",
    "TemporalRefiner",
    "TrackLimits",
    "TrackQueries",
    "TrackRules",
    "TrackSelection",
    "TrackSlots",
    "Tracker",
    "Variant",
    "ViTEncoder",
    "VideoSegmenter",
    "VideoState",
    "build_encoder",
    "load_variant",
    "load_variants",
    "variant_names",
]
