"""All checks of a variant: the contract, and what compiler, counters and optimizer make of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from videomt_bench.cost.count import count_macs
from videomt_bench.models.conformance import SIZE, Check, check_variant, run_checks
from videomt_bench.models.contracts import FrameFeatures, FrameOutput, VideoState
from videomt_bench.models.variant import Variant
from videomt_bench.models.video import VideoSegmenter
from videomt_bench.training.optim import OptimSettings, parameter_groups


def check_in_full(variant: Variant) -> list[Check]:
    """Run all checks; an exception is a failed check."""
    more = {
        "compiles": _compiles,
        "cost is counted": _counted,
        "parameters are in their groups": _grouped,
    }
    return [*check_variant(variant), *run_checks(variant, more)]


def _compiles(model: VideoSegmenter) -> str:
    """Memory and tracker go through the compiler; the segmenters are known to."""
    with torch.no_grad():
        features = model.encode(torch.randn(1, 3, *SIZE))
        state = model.init_state(1)
        queries = model.memory.queries(state.memory)
        output = model.segmenter.decode(features, queries)
        output.entered = queries

        def follow(output: FrameOutput, features: FrameFeatures, state: VideoState) -> Any:
            memory = model.memory.update(state.memory, output)
            aligned, tracker = model.tracker.track(output, features, state.tracker)
            return model.memory.queries(memory), aligned.class_logits, tracker

        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        compiled = torch.compile(follow, backend="eager", dynamic=False)
        found, expected = (f(output, features, state) for f in (compiled, follow))
        breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
        torch._dynamo.reset()
    difference = max(_difference(a, b) for a, b in zip(found[:2], expected[:2], strict=True))
    if difference > 1e-5:
        raise ValueError(f"compiled, the outputs differ by {difference:.2g}; use torch's operators")
    return f"{breaks} graph breaks in memory and tracker"


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


def _counted(model: VideoSegmenter) -> str:
    count = count_macs(model, *SIZE, shapes=False)
    own = sum(sum(count.by_component.get(part, {}).values()) for part in ("memory", "tracker"))
    return f"{own * 1e3:.3f} of {count.gmacs * 1e3:.3f} million MACs are of memory and tracker"


def _grouped(model: VideoSegmenter) -> str:
    settings = OptimSettings()
    names: dict[str, float] = {}
    for group in parameter_groups(model, settings):
        for name in group["names"]:
            if name in names:
                raise ValueError(f"{name} is in two groups; register a parameter once")
            names[name] = group["rate"]
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    if lost := sorted(learning - names.keys()):
        raise ValueError(f"{', '.join(lost[:5])} would not learn; register them as parameters")
    own = {n: rate for n, rate in names.items() if n.startswith(("memory.", "tracker."))}
    if slow := [n for n, rate in own.items() if rate < settings.lr]:
        raise ValueError(f"{slow[0]} has a rate of the encoder; keep encoders out of memories")
    return f"{len(own)} of memory and tracker, {len(names)} in all"
