"""The systems of the published tables: their names, and how each carries identities in time."""

from __future__ import annotations

TRACKER = "segmenter + tracker"
FRAMES = "frame by frame"
QUERIES = "queries carried on"
OTHER = "other"
FAMILIES = (TRACKER, FRAMES, QUERIES, OTHER)

_SYSTEMS = {
    TRACKER: {
        "step0_cavis": "CAVIS",
        "step0_cavis_lean": "CAVIS, lean",
        "cavis_public_code": "CAVIS, public code",
        "cavis_offline": "CAVIS, offline",
        "cavis_offline_public_code": "CAVIS, offline, public code",
        "step1_eomt_segmenter": "EoMT + CAVIS",
        "step1_eomt_segmenter_lean": "EoMT + CAVIS, lean",
        "step2_no_context": "− context features",
        "step3_no_reid": "− re-ID",
        "dvis": "DVIS",
        "dvis_offline": "DVIS, offline",
        "dvis_plus": "DVIS++",
        "dvis_plus_offline": "DVIS++, offline",
        "dvis_daq": "DVIS-DAQ",
        "dvis_daq_offline": "DVIS-DAQ, offline",
        "dvis_daq_offline_conv": "DVIS-DAQ, offline, convolutions",
        "eomt_dvis_plus": "EoMT + DVIS++",
        "eomt_dvis_daq": "EoMT + DVIS-DAQ",
        "lomm": "LOMM",
    },
    FRAMES: {
        "minvis": "MinVIS",
        "step4_frame_by_frame": "frame by frame",
        "frame_by_frame_matched": "frame by frame, matched",
    },
    QUERIES: {
        "step5_propagation": "query propagation",
        "step6_videomt": "VidEoMT",
        "trackformer": "TrackFormer-style",
        "propagation_reset": "propagation with reset",
        "nonobject_reset": "propagation with reset",
        "mask2former_trackformer": "Mask2Former, TrackFormer-style",
        "mask2former_fusion": "Mask2Former + query fusion",
        "step6_videomt_normalized": "VidEoMT, normalised queries",
        "gated_fusion": "gated fusion",
        "object_fusion": "fusion by objectness",
        "ema_bank": "bank of running means",
        "slot_memory": "slot memory",
        "memory_bank": "memory bank",
        "gru": "GRU",
        "deep_gru": "deep GRU",
        "lstm": "LSTM",
        "s5": "S5",
        "pmt": "PMT",
        "lvmt": "LVMT",
        "lvmt_size": "LVMT",
        "pmt_gru": "PMT + GRU",
        "pmt_gru_truncated": "PMT + GRU, truncated",
        "videomt_size": "VidEoMT",
        "videomt_gru": "VidEoMT + GRU",
        "videomt_truncated": "VidEoMT, truncated",
        "videomt_gru_truncated": "VidEoMT + GRU, truncated",
    },
}


def family_of(name: str) -> str:
    """How a variant or published row carries identities; ``other`` for one not known here."""
    return next((family for family, names in _SYSTEMS.items() if name in names), OTHER)


def system_title(name: str) -> str:
    """The name of a published row in words, without the number of its step."""
    return next((names[name] for names in _SYSTEMS.values() if name in names), name)


def system_label(name: str, encoder: str) -> str:
    """The name of a published row with its encoder, if that is known."""
    return f"{system_title(name)}, {encoder}" if encoder else system_title(name)


def row_title(variant: str, label: str) -> str:
    """The label of a row; the name of a system where its variant has no title yet."""
    rest = label.removeprefix(variant)
    return label if rest == label else system_title(variant) + rest
