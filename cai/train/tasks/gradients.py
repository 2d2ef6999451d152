"""The gradients of several tasks, kept apart between their backward passes, compared and put together again.

One gradient a task is held, in the parameters' precision, beside the optimiser's state. Backward passes of one task add
up. Frozen parameters have none, so that with an adapter the gradients are as small as it is.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from cai.train.tasks.surgery import Matrix


class TaskGradients:
    """A gradient for each of so many tasks over the same parameters."""

    def __init__(self, parameters: Iterable[nn.Parameter], tasks: int) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._held: list[list[torch.Tensor | None]] = [[None] * len(self._parameters) for _ in range(tasks)]

    def take(self, task: int) -> None:
        """Move the parameters' gradient to what the task has so far; the parameters have none afterwards."""
        held = self._held[task]
        for place, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                before = held[place]
                held[place] = parameter.grad if before is None else before.add_(parameter.grad)
                parameter.grad = None

    def products(self) -> Matrix:
        """Return the gradients' dot products, shape (tasks, tasks), in float64."""
        count = len(self._held)
        found = np.zeros((count, count))
        for one in range(count):
            for other in range(one, count):
                pairs = zip(self._held[one], self._held[other], strict=True)
                dots = [
                    torch.dot(a.flatten().float(), b.flatten().float())
                    for a, b in pairs
                    if a is not None and b is not None
                ]
                found[one, other] = found[other, one] = torch.stack(dots).double().sum().item() if dots else 0.0
        return found

    def put_together(self, coefficients: Iterable[float]) -> None:
        """Give the parameters the sum of the gradients, each times its coefficient; nothing is held afterwards."""
        factors = [float(factor) for factor in coefficients]
        for place, parameter in enumerate(self._parameters):
            total: torch.Tensor | None = None
            for task, factor in enumerate(factors):
                gradient = self._held[task][place]
                self._held[task][place] = None
                if gradient is not None:
                    scaled = gradient.mul_(factor)
                    total = scaled if total is None else total.add_(scaled)
            parameter.grad = total

    def forget(self) -> None:
        """Hold nothing."""
        for held in self._held:
            held[:] = [None] * len(held)
