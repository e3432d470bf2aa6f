"""Multiply-accumulates and operations of one steady-state frame, by two counters that must agree.

The papers' "GFLOPs" are multiply-accumulates, as fvcore counts them. PyTorch's own counter gives
two operations per multiply-accumulate of matrix products and convolutions, and nothing else.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.backends import cudnn, mkldnn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from videomt_bench.cost.attention import unfused_attention
from videomt_bench.cost.components import components_by_path, watched
from videomt_bench.cost.modes import evaluating, frozen
from videomt_bench.cost.names import OTHER, ordered
from videomt_bench.cost.operators import ESTIMATED, HANDLERS, is_negligible, matters
from videomt_bench.cost.shapes import on_meta, shapes_only
from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import Cost, FrameOutput, State, VideoState
from videomt_bench.models.refiner import COUNTED_FRAMES
from videomt_bench.models.video import VideoSegmenter

TOLERANCE = 0.01
"""How far the two counters may differ on matrix products and convolutions."""

ByComponent = dict[str, Counter[str]]
"""Component -> operator -> a count."""


@dataclass
class MacCount:
    """What one frame costs."""

    gmacs: float
    """10⁹ multiply-accumulates, attention counted; norms and resampling as fvcore estimates them,
    and what the parts declare."""
    gflops: float
    """10⁹ operations of matrix products and convolutions, two per multiply-accumulate."""
    uncounted: dict[str, int]
    """Operators that neither were counted nor are known not to matter -> how often they ran."""
    by_operator: dict[str, float]
    """Operator -> 10⁹ multiply-accumulates."""
    by_component: dict[str, dict[str, float]]
    """Component -> operator -> 10⁹ multiply-accumulates; all together are ``gmacs``."""
    state_bytes: int
    """What a stream carries from its first frame to the next, tensors alone."""
    notes: list[str] = field(default_factory=list)
    """What the parts say about their cost."""


def count_macs(
    model: VideoSegmenter,
    height: int,
    width: int,
    video_frames: int = COUNTED_FRAMES,
    *,
    shapes: bool = True,
) -> MacCount:
    """Count one frame of one stream after its first, at ``height`` × ``width`` input pixels.

    Nothing is computed where that is possible: shapes are traced on the meta device. A model that
    looks at values (Hungarian matching) is run with random frames where its parameters are; so is
    every model without ``shapes``, which is faster for one that is very small.

    An operator of your own is counted once its formula is registered with
    ``torch.utils.flop_counter.register_flop_formula``; a part's method ``cost() -> Cost`` adds
    what is no operator at all. A refiner's is a frame's share of a video of ``video_frames``.

    Raises:
        BenchError: no frames in a video, an operator that matters was not counted, or the two
            counters disagree.
    """
    if video_frames < 1:
        raise BenchError(f"a video of {video_frames} frames has no cost; it must have at least 1")
    size = height, width, video_frames
    # PyTorch's counter hooks into gradients, which views of parameters break
    with evaluating(model), frozen(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not shapes:
            return _from_values(model, *size)
        try:
            return _from_shapes(model, *size)
        # whatever goes wrong without values is tried again with them; both reasons stay in a chain
        except Exception:
            return _from_values(model, *size)


def _from_shapes(model: VideoSegmenter, height: int, width: int, video_frames: int) -> MacCount:
    """Count on the meta device, which fails where the model needs values."""
    shapes = on_meta(model)
    with shapes_only():
        trace = _trace(shapes, torch.empty(1, 3, height, width))
    return _checked(trace, _declared(model, video_frames))


def _from_values(model: VideoSegmenter, height: int, width: int, video_frames: int) -> MacCount:
    """Count a run on random frames, where the model's parameters are."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    frame = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return _checked(_trace(model, frame.to(device)), _declared(model, video_frames))


@dataclass
class _Trace:
    """What the counters saw."""

    macs: ByComponent
    """fvcore's, by operator."""
    uncounted: dict[str, int]
    flops: ByComponent
    """PyTorch's, by operator with its namespace."""
    state_bytes: int


def _trace(model: VideoSegmenter, frame: Tensor) -> _Trace:
    with unfused_attention(model):
        state = model.detach(model.step(frame, model.init_state(1))[1])
        macs, uncounted = _fvcore(model, frame, state)
        flops = _flops(model, frame, state)
    mattering = {op: n for op, n in uncounted.items() if not is_negligible(op)}
    return _Trace(macs, mattering, flops, sum(x.nbytes for x in tensors(state)))


def _fvcore(
    model: VideoSegmenter, frame: Tensor, state: VideoState
) -> tuple[ByComponent, dict[str, int]]:
    """Multiply-accumulates by component and operator, and how often what was not counted ran."""
    step = _Step(model, state)
    analysis = FlopCountAnalysis(step, frame).set_op_handle(**HANDLERS)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with watched(model, lambda name: None) as called:
        counts = analysis.tracer_warnings("none").by_module_and_operator()
    component = {path: called[m] for path, m in step.named_modules() if m in called}
    macs: ByComponent = defaultdict(Counter)
    for path, operators in _exclusive(counts).items():
        macs[component.get(path, OTHER)].update({op: float(n) for op, n in operators.items() if n})
    uncounted = analysis.unsupported_ops()
    return macs, {str(name): int(n) for name, n in sorted(uncounted.items())}


def _exclusive(counts: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Counts by module path without those of the modules below it; they are whole numbers."""
    own = {path: Counter(operators) for path, operators in counts.items()}
    for path, operators in counts.items():
        if path:
            own[path.rpartition(".")[0]].subtract(operators)
    return own


def _flops(model: VideoSegmenter, frame: Tensor, state: VideoState) -> ByComponent:
    """PyTorch's count, two per multiply-accumulate, by component and operator."""
    flops: ByComponent = defaultdict(Counter)
    before: Counter[str] = Counter()
    counter = FlopCounterMode(display=False)

    def leave(component: str) -> None:
        counts = counter.get_flop_counts().get("Global", {})
        now = Counter({str(op).replace(".", "::", 1): int(n) for op, n in counts.items()})
        flops[component].update(now - before)
        before.update(now - before)

    # a recurrent layer of these is one operator that PyTorch's counter does not know
    libraries = mkldnn.flags(enabled=False), cudnn.flags(enabled=False)
    with libraries[0], libraries[1], watched(model, leave), counter:
        model.step(frame, state)
    leave(OTHER)
    return flops


def _checked(trace: _Trace, declared: dict[str, tuple[str, Cost]]) -> MacCount:
    """Both counts with what was registered and declared, once nothing that matters is missing."""
    registered = {
        component: {op: n for op, n in operators.items() if not op.startswith("aten::")}
        for component, operators in trace.flops.items()
    }
    known = {op for operators in registered.values() for op in operators}
    uncounted = {op: n for op, n in trace.uncounted.items() if op not in known}
    if missing := [op for op in uncounted if matters(op)]:
        raise BenchError(
            f"cannot count {', '.join(missing)}: write it with PyTorch's matrix products and "
            "convolutions, or register its formula with "
            "torch.utils.flop_counter.register_flop_formula"
        )
    flops = _sum(trace.flops)
    _agree(_by_operator(trace.macs), (flops - _sum(registered)) / 2)
    macs = {component: Counter(operators) for component, operators in trace.macs.items()}
    for component, operators in registered.items():
        macs.setdefault(component, Counter()).update({op: n / 2 for op, n in operators.items()})
    for part, (component, cost) in declared.items():
        macs.setdefault(component, Counter()).update({f"declared by {part}": cost.macs})
    return MacCount(
        gmacs=_sum(macs) / 1e9,
        gflops=(flops + 2 * sum(cost.macs for _, cost in declared.values())) / 1e9,
        uncounted=uncounted,
        by_operator=_giga(_by_operator(macs)),
        by_component={
            name: _giga(macs[name]) for name in ordered(macs) if any(macs[name].values())
        },
        state_bytes=trace.state_bytes,
        notes=[f"{part}: {note}" for part, (_, cost) in declared.items() for note in cost.notes],
    )


def _sum(counts: Mapping[str, Mapping[str, float]]) -> float:
    return sum(sum(operators.values()) for operators in counts.values())


def _by_operator(counts: Mapping[str, Mapping[str, float]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for operators in counts.values():
        total.update(operators)
    return total


def _giga(counts: Mapping[str, float]) -> dict[str, float]:
    return {name: value / 1e9 for name, value in counts.items() if value}


def _agree(macs: Mapping[str, float], expected: float) -> None:
    products = sum(value for name, value in macs.items() if name not in ESTIMATED)
    if abs(products - expected) > TOLERANCE * max(products, expected):
        raise BenchError(
            f"the counters disagree on matrix products and convolutions: fvcore has "
            f"{products / 1e9:.6g} GMACs, PyTorch's counter {expected / 1e9:.6g}"
        )


def _declared(model: VideoSegmenter, video_frames: int) -> dict[str, tuple[str, Cost]]:
    """What the parts add by ``cost()``, with their components."""
    parts: dict[str, nn.Module] = {
        "segmenter": model.segmenter,
        "memory": model.memory,
        "tracker": model.tracker,
    }
    costs = {name: getattr(part, "cost", None) for name, part in parts.items()}
    if model.refiner is not None:
        parts["refiner"] = model.refiner
        costs["refiner"] = partial(model.refiner.cost, video_frames)
    owner = components_by_path(model)
    return {
        name: (owner[parts[name]] or OTHER, cost())
        for name, cost in costs.items()
        if callable(cost)
    }


class _Step(nn.Module):
    """One step from a fixed state, as the tracer wants it: tensor in, tuple of tensors out.

    All that is computed is returned, as the tracer drops what leads nowhere: what the step gives,
    and what the segmenter predicts, which a tracker may leave aside.
    """

    def __init__(self, model: VideoSegmenter, state: VideoState) -> None:
        super().__init__()
        self.model = model
        self.state = state

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        with _KeepRead() as read, _segmented(self.model) as found:
            result = self.model.step(frame, self.state)
        # what is handed on as it is has no trace, and costs nothing
        known = {id(x) for x in tensors(self.state)}
        new = {id(x): x for x in tensors((result, found)) if id(x) not in known}
        return (*new.values(), *read.kept)


@contextmanager
def _segmented(model: VideoSegmenter) -> Iterator[list[Any]]:
    """What the segmenter hands to the tracker meanwhile."""
    found: list[Any] = []
    segment = model.segment

    def keep(*arguments: Any, **options: Any) -> tuple[FrameOutput, State]:
        output, memory = segment(*arguments, **options)
        found.append((output.class_logits, output.mask_logits))
        return output, memory

    model.segment = keep  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del model.segment


class _KeepRead(TorchFunctionMode):
    """Keeps tensors whose values are read into Python or numpy, such as matching costs."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _READS:
            self.kept.append(args[0])
        return func(*args, **(kwargs or {}))


_READS = frozenset(
    ("numpy", "item", "tolist", "__array__", "__bool__", "__int__", "__float__", "__index__")
)


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested dataclasses, dicts, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for f in fields(value):
            yield from tensors(getattr(value, f.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
