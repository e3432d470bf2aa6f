"""What the contrastive loss of a refiner remembers of earlier iterations, as in the public code of
DVIS++ (arXiv 2312.13305): embeddings of objects, by class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

if TYPE_CHECKING:
    from videomt_bench.training.sharing import HostGroup

CLASS_MEMORY = "class_memory"


class ClassMemory:
    """Embeddings without a graph, at most ``size`` of each class.

    Where a class has more, a random choice of the old and the new ones stays.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: dict[int, Tensor] = {}

    def of(self, label: int) -> Tensor | None:
        """Embeddings (M, E) of a class; None: there are none."""
        return self._held.get(label)

    def remember(self, objects: Iterable[tuple[int, Tensor]]) -> None:
        """Add objects of an iteration, each with its class and embeddings (n, E)."""
        added = set()
        for label, embeddings in objects:
            known = [self._held[label]] if label in self._held else []
            self._held[label] = torch.cat([*known, embeddings.detach().float()])
            added.add(label)
        for label in sorted(added):
            held = self._held[label]
            if len(held) > self.size:
                self._held[label] = held[torch.randperm(len(held))[: self.size].to(held.device)]

    def state_dict(self) -> dict[int, Tensor]:
        """Embeddings (M, E) by class, on the CPU."""
        return {label: held.cpu() for label, held in self._held.items()}

    def load_state_dict(self, state: Mapping[int, Tensor], device: torch.device) -> None:
        """Take what ``state_dict`` gave, on a device."""
        self._held = {label: held.to(device) for label, held in state.items()}


class ClassMemoryHook(Hook):
    """Keeps the memories of all processes in the checkpoint; each process gets its own back.

    With more processes than there were, several begin with the same one.
    """

    def __init__(self, memory: ClassMemory, group: HostGroup, device: torch.device) -> None:
        self.memory = memory
        self.group = group
        self.device = device
        self.states: list[Any] = []

    def before_checkpoint(self, runner: Runner) -> None:
        """In all processes, before one of them writes."""
        self.states = self.group.gather(self.memory.state_dict())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint[CLASS_MEMORY] = self.states

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        if CLASS_MEMORY not in checkpoint:
            raise ValueError(f"it holds no {CLASS_MEMORY}")
        states = checkpoint[CLASS_MEMORY]
        self.memory.load_state_dict(states[get_rank() % len(states)], self.device)
