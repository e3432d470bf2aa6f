"""Checks that a variant keeps the streaming contract, at a size that takes a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from videomt_bench.models.contracts import ClipOutput, DefersMasks
from videomt_bench.models.encoders import EncoderSpec
from videomt_bench.models.offline import OfflineVideo
from videomt_bench.models.variant import ModelSpec, Variant
from videomt_bench.models.video import VideoSegmenter

SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
FRAMES = 4
SIZE = (48, 64)
TOLERANCE = 1e-5


@dataclass
class Check:
    """One thing that was checked; ``detail`` is what was seen, or what fails and how to mend it."""

    name: str
    passed: bool
    detail: str


Test = Callable[[VideoSegmenter], str]
"""Gives what was seen; raises what fails and how to mend it."""


def check_variant(variant: Variant) -> list[Check]:
    """Run the checks of the contract; an exception is a failed check."""
    tests: dict[str, Test] = {
        "shapes": _shapes,
        "determinism": _determinism,
        "streaming equals clip": _streaming,
        "batch independence": _independence,
        "deferred masks equal masks": _deferred,
        "state size": _state_size,
        "gradients reach every parameter": _gradients,
        "gradients pass through time": _through_time,
        "detach cuts the graph": _detach,
        "mixed precision": _mixed_precision,
    }
    return run_checks(variant, tests)


def run_checks(variant: Variant, tests: Mapping[str, Test]) -> list[Check]:
    """Each test on a model of its own, in evaluation mode."""
    results = []
    for name, test in tests.items():
        torch.manual_seed(0)
        try:
            results.append(Check(name, True, test(variant.build(SPEC).eval())))
        except Exception as error:
            results.append(Check(name, False, f"{type(error).__name__}: {error}"))
    return results


def _clip(batch: int = 2) -> Tensor:
    return torch.randn(batch, FRAMES, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def _run(model: VideoSegmenter, clip: Tensor) -> ClipOutput:
    with torch.no_grad():
        return model(clip)[0]


def _whole(model: VideoSegmenter) -> VideoSegmenter:
    """What gives the results of whole clips: with a refiner not the stream itself."""
    return model if model.refiner is None else OfflineVideo(model)


def _difference(a: ClipOutput, b: ClipOutput) -> float:
    pairs = ((a.class_logits, b.class_logits), (a.mask_logits, b.mask_logits))
    return max(float((x - y).abs().max()) for x, y in pairs)


def _close(difference: float, mend: str) -> str:
    if not difference <= TOLERANCE:
        raise ValueError(f"outputs differ by {difference:.2g}, more than {TOLERANCE:g}; {mend}")
    return f"largest difference {difference:.1g}"


def _shapes(model: VideoSegmenter) -> str:
    output = _run(model, _clip())
    batch, frames, queries = 2, FRAMES, output.class_logits.shape[2]
    height, width = SIZE[0] // 4, SIZE[1] // 4
    expected = {
        "class_logits": (batch, frames, queries, SPEC.num_classes + 1),
        "mask_logits": (batch, frames, queries, height, width),
        "queries": (batch, frames, queries, model.tracker.dim or model.segmenter.dim),
    }
    for name, shape in expected.items():
        found = tuple(getattr(output, name).shape)
        if found != shape:
            raise ValueError(f"{name} is {found}, the contract says {shape}")
    return f"{queries} queries, masks {height}x{width}"


def _determinism(model: VideoSegmenter) -> str:
    first, second = _run(_whole(model), _clip()), _run(_whole(model), _clip())
    return _close(_difference(first, second), "draw nothing at random in evaluation mode")


def _streaming(model: VideoSegmenter) -> str:
    clip = _clip()
    whole, state, outputs = _run(model, clip), model.init_state(2), []
    with torch.no_grad():
        for t in range(FRAMES):
            output, state = model.step(clip[:, t], state)
            outputs.append(output)
    mend = "keep everything that lasts in the state, nothing in attributes"
    return _close(_difference(whole, ClipOutput.stack(outputs)), mend)


def _independence(model: VideoSegmenter) -> str:
    clip, model = _clip(), _whole(model)
    both = _run(model, clip)
    single = [_run(model, clip[i : i + 1]) for i in range(2)]
    alone = ClipOutput(
        torch.cat([x.class_logits for x in single]),
        torch.cat([x.mask_logits for x in single]),
        torch.cat([x.queries for x in single]),
        torch.cat([x.embeddings for x in single]),
    )
    return _close(_difference(both, alone), "let no operation mix the streams of a batch")


def _deferred(model: VideoSegmenter) -> str:
    segmenter = model.segmenter
    if not (model.defers_masks and isinstance(segmenter, DefersMasks)):
        return "masks are not deferred: they are read on the way"
    whole = _run(model, _clip())
    with torch.no_grad():
        later, _ = model(_clip(), masks=False)
        masks = [segmenter.masks(later.embeddings[:, t], later.pixels[:, t]) for t in range(FRAMES)]
    found = replace(whole, class_logits=later.class_logits, mask_logits=torch.stack(masks, 1))
    mend = "set reads_masks = True where a memory or tracker looks at masks"
    return _close(_difference(whole, found), mend)


def _state_size(model: VideoSegmenter) -> str:
    clip, state, sizes = _clip(), model.init_state(2), []
    with torch.no_grad():
        for t in range(FRAMES):
            _, state = model.step(clip[:, t], state)
            leaves = tree_leaves([state.memory, state.tracker])
            sizes.append(sum(x.nbytes for x in leaves if isinstance(x, Tensor)))
    if len(set(sizes)) == 1:
        return f"{sizes[0] // 2} bytes per stream"
    if not model.memory.state_varies:
        raise ValueError(
            f"the state goes from {sizes[0]} to {sizes[-1]} bytes; bound what it keeps, or set "
            "state_varies = True where it must"
        )
    return f"from {min(sizes) // 2} to {max(sizes) // 2} bytes per stream, as declared"


def _loss(output: ClipOutput) -> Tensor:
    layers = [*output.intermediate, output]
    if output.source is not None:
        layers += [*output.source.intermediate, output.source]
    return sum((x.class_logits.square().mean() + x.mask_logits.square().mean()) for x in layers)  # type: ignore[return-value]


def _gradients(model: VideoSegmenter) -> str:
    for form in dict.fromkeys((model, _whole(model))):
        output, _ = form.train()(_clip())
        _loss(output).backward()
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    idle = [name for name, parameter in named if parameter.grad is None]
    if idle:
        raise ValueError(f"no gradient reaches {', '.join(idle[:5])}; use them or freeze them")
    return f"{len(named)} parameters"


def _through_time(model: VideoSegmenter) -> str:
    """Where the last frame of a clip depends on the first, so must its gradient."""
    model.train()
    clip = _clip()

    def last(frames: Tensor) -> Tensor:
        torch.manual_seed(0)
        return model(frames)[0].class_logits[:, -1]

    changed = clip.clone()
    changed[:, 0] += 1
    with torch.no_grad():
        depends = float((last(clip) - last(changed)).abs().max()) > TOLERANCE
    (gradient,) = torch.autograd.grad(last(clip.requires_grad_()).square().sum(), clip)
    flows = bool(gradient[:, 0].any())
    if depends and not flows:
        raise ValueError(
            "the last frame depends on the first but no gradient gets there; detach nothing in "
            "update or track, training does it where it is told to"
        )
    return "from the last frame to the first" if flows else "nothing is carried in training"


def _mixed_precision(model: VideoSegmenter) -> str:
    model.train()
    clip = _clip(1)[:, :2]
    with torch.autocast("cpu", torch.bfloat16):
        _, state = model(clip)
        for _ in range(3):
            _, state = model(clip[:, :1], state)
        output, _ = _whole(model)(clip)
    loss = _loss(output).float()
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not (loss.isfinite() and all(g.isfinite().all() for g in gradients)):
        raise ValueError("a value is not finite under bfloat16 autocast; compute it in float32")
    return "finite under bfloat16 autocast, forwards and backwards"


def _detach(model: VideoSegmenter) -> str:
    model.train()
    clip = _clip().requires_grad_()
    _, state = model(clip[:, :2])
    output, _ = model(clip[:, 2:], model.detach(state))
    (gradient,) = torch.autograd.grad(_loss(output), clip)
    if gradient[:, :2].abs().max() > 0:
        raise ValueError("gradients pass a detached state; detach every tensor in it")
    return "no gradient passes a detached state"
