"""DVIS-DAQ as its authors publish it (Zhou et al., ECCV 2024): dynamic anchor queries."""

from __future__ import annotations

from videomt_bench.weights.dvis import REFERRING, REFINER, REFINER_MARK
from videomt_bench.weights.family import Family, empty_weight
from videomt_bench.weights.mask2former import MARKS, REID, SEGMENTER
from videomt_bench.weights.rules import Layout, Unused, layout

SLOT = "slot_cross_attention_layers.{i}."
SLOTS = layout(
    [
        ("mask_feature_proj.{p}", "mask_feature_proj.{p}"),
        ("pos_embed.{rest}", "pos_embed.{rest}"),
        ("new_ins_embeds.weight", "new_instance.weight"),
        ("bg_slots.weight", "background.weight"),
        (SLOT + "multihead_attn.{rest}", "slot_layers.{i}.cross_attention.{rest}"),
        (SLOT + "norm.{p}", "slot_layers.{i}.cross_norm.{p}"),
        (SLOT + "slot_attn.norm_inputs.{p}", "slot_layers.{i}.content_norm.{p}"),
        (SLOT + "slot_attn.project_q.0.{p}", "slot_layers.{i}.slot_norm.{p}"),
        (SLOT + "slot_attn.project_q.1.weight", "slot_layers.{i}.project_slot.weight"),
        (SLOT + "slot_attn.project_k.weight", "slot_layers.{i}.project_content.weight"),
        ("slot_ffn_layers.{i}.norm.{p}", "slot_layers.{i}.ffn_norm.{p}"),
        ("slot_ffn_layers.{i}.linear{j}.{p}", "slot_layers.{i}.linear{j}.{p}"),
    ]
).within("tracker.", "tracker.")
CRITERION = Layout(
    (),
    (Unused("daq_criterion.empty_weight", empty_weight), Unused("criterion.empty_weight")),
)
WITHOUT_CRITERION = Layout(
    SEGMENTER.rules, tuple(u for u in SEGMENTER.unused if not u.theirs.startswith("criterion."))
)
ONLINE = WITHOUT_CRITERION + CRITERION + REID + SLOTS + REFERRING
SLOT_MARK = "tracker.slot_cross_attention_layers.0.slot_attn.project_k.weight"
CONV_MARK = "refiner.conv_norms.0.weight"
"""Whether there are convolutions depends on the data set."""

FAMILIES = (
    Family(
        "dvis_daq",
        "DVIS-DAQ, online",
        ONLINE,
        marks=(*MARKS, SLOT_MARK),
        without=(REFINER_MARK,),
        variant="dvis_daq",
    ),
    Family(
        "dvis_daq_offline",
        "DVIS-DAQ, offline",
        ONLINE + REFINER,
        marks=(*MARKS, SLOT_MARK, REFINER_MARK),
        without=(CONV_MARK,),
        variant="dvis_daq_offline",
    ),
    Family(
        "dvis_daq_offline_conv",
        "DVIS-DAQ, offline, its refiner with convolutions",
        ONLINE + REFINER,
        marks=(*MARKS, SLOT_MARK, REFINER_MARK, CONV_MARK),
        variant="dvis_daq_offline_conv",
    ),
)
