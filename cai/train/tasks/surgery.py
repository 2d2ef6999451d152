"""PCGrad: "Gradient Surgery for Multi-Task Learning", Yu et al., NeurIPS 2020, arXiv 2001.06782, algorithm 1.

For every task i, with the others j in random order: where the task's gradient conflicts with another's, that is where
g_i . g_j < 0, it loses what of it points against that one,

    g_i <- g_i - (g_i . g_j) / |g_j|^2 g_j

g_j being the other's gradient as it was, and g_i what the projections before left of it. The step is the sum of all.

Every projected gradient is a combination of the original ones, so that the whole algorithm needs no more of them than
their dot products: it is worked out in coefficients, and the gradients are touched once, to be added up. This is exact,
and keeps no copy beside the originals.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def projected(products: Matrix, orders: Sequence[Sequence[int]]) -> Matrix:
    """Return the projected gradients as coefficients of the original ones, shape (tasks, tasks).

    `products` are the gradients' dot products, (tasks, tasks), symmetric; `orders[i]` says in which order task i meets
    the others. Row i times the gradients is task i's projected one. A task without a gradient (a dot product of 0 with
    itself) conflicts with nobody.
    """
    coefficients = np.eye(len(products))
    for task, order in enumerate(orders):
        for other in order:
            along = float(coefficients[task] @ products[:, other])
            if other != task and along < 0.0 < products[other, other]:
                coefficients[task, other] -= along / products[other, other]
    return coefficients


def cosines(products: Matrix) -> Matrix:
    """Return the cosine between every two gradients from their dot products; nan where a task has none."""
    lengths = np.sqrt(np.diag(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Matrix = products / np.outer(lengths, lengths)
    return np.where(np.outer(lengths, lengths) > 0, np.clip(found, -1.0, 1.0), np.nan)
