"""Which component of a model is at work: by the module that is called.

A class of modules names its component in a class attribute, such as ``component = "decoder"``.
What a module does belongs to the innermost module around it that has one, first by its path in
the model, then by who calls it; what has none at all is ``other``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from videomt_bench.cost.names import OTHER
from videomt_bench.models.video import VideoSegmenter

METHODS = ("encode", "decode", "queries", "update", "track")
"""What the three parts of a model are called by during a step, beside ``forward``."""


def components_by_path(model: nn.Module) -> dict[nn.Module, str | None]:
    """Every module -> its component, or that of its nearest ancestor with one, or None.

    A module that is registered twice belongs to where it stands first.
    """
    found: dict[nn.Module, str | None] = {}

    def visit(module: nn.Module, inherited: str | None) -> None:
        if module in found:
            return
        own = getattr(module, "component", None)
        found[module] = own if isinstance(own, str) else inherited
        for child in module.children():
            visit(child, found[module])

    visit(model, None)
    return found


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Component -> its parameters; each is counted once, where it stands first."""
    counts: Counter[str] = Counter()
    seen: set[int] = set()
    for module, name in components_by_path(model).items():
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                counts[name or OTHER] += parameter.numel()
    return dict(counts)


@contextmanager
def watched(model: VideoSegmenter, leave: Callable[[str], None]) -> Iterator[dict[nn.Module, str]]:
    """Call ``leave(name)`` whenever the component ``name`` stops working and another starts.

    A step begins and ends in ``other``. Gives the modules that were called -> the component that
    they worked for when first called. Hooks and wrappers are gone afterwards.
    """
    owner = components_by_path(model)
    active = [OTHER]
    called: dict[nn.Module, str] = {}

    def enter(module: nn.Module, *_: Any) -> None:
        name = owner[module] or active[-1]
        called.setdefault(module, name)
        if name != active[-1]:
            leave(active[-1])
        active.append(name)

    def exit_(module: nn.Module, *_: Any) -> None:
        name = active.pop()
        if name != active[-1]:
            leave(name)

    with ExitStack() as stack:
        for module in owner:
            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(exit_, always_call=True).remove)
        for part in (model.segmenter, model.memory, model.tracker):
            stack.enter_context(_methods_as_calls(part))
        yield called


@contextmanager
def _methods_as_calls(part: nn.Module) -> Iterator[None]:
    """Let the contract's methods of a part run its forward hooks, as a call of the part does."""
    forward = part.forward
    methods = {name: getattr(part, name) for name in METHODS if hasattr(part, name)}

    def dispatch(*arguments: Any, **options: Any) -> Any:
        if arguments and isinstance(arguments[0], _Method):
            return arguments[0].function(*arguments[1:], **options)
        return forward(*arguments, **options)

    replaced = {name: _call(part, method) for name, method in methods.items()}
    replaced["forward"] = dispatch
    before = {name: vars(part)[name] for name in replaced if name in vars(part)}
    vars(part).update(replaced)
    try:
        yield
    finally:
        for name in replaced:
            del vars(part)[name]
        vars(part).update(before)


def _call(part: nn.Module, method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: part(_Method(method), *arguments, **options)


class _Method:
    """The method that a call of a part stands for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
