"""Parts of a model that do not learn, and what a process group does with batch statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from videomt_bench.errors import BenchError


@contextmanager
def freeze(model: nn.Module, names: Sequence[str]) -> Iterator[tuple[nn.Module, ...]]:
    """Parameters of the named parts ask for no gradient until the context ends.

    Args:
        model: its parts are meant.
        names: of modules or parameters; everything below a module is meant too.

    Returns:
        The named modules, which should be in evaluation mode while the others train.

    Raises:
        BenchError: a name of nothing, or nothing is left to learn.
    """
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    for name in names:
        if not name or name not in modules | parameters:
            parts = sorted(child for child, _ in model.named_children())
            raise BenchError(
                f"cannot freeze {name!r}, which the model does not have; "
                f"valid are {', '.join(parts)} and the parts of these, joined by a dot"
            )
    frozen = [
        parameter
        for name, parameter in parameters.items()
        if parameter.requires_grad and any(f"{name}.".startswith(f"{n}.") for n in names)
    ]
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in parameters.values()):
            raise BenchError(f"nothing learns with {', '.join(names)} frozen; freeze fewer parts")
        yield tuple(modules[name] for name in names if name in modules)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def synchronize_batch_norm(model: nn.Module) -> None:
    """Batch statistics of parts of a model become those of all processes; names stay as they are.

    Only CUDA knows how.
    """
    for name, child in model.named_children():
        setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
