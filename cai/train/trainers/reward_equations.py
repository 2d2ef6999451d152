"""What reward models minimise, as functions of scores, each with its paper: nothing here knows a model or a file.

`scores` are what the model says of answers, shape (answers,), in log-odds but for regression, which has the unit of the
data. `lists` says by a number which list (which prompt's answers) an answer belongs to. A loss is returned for each
pair, list or answer, not yet averaged.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_PRIOR = 1e-3
"""Of the squared slope, in score a deviation of length: it stays finite where length alone tells all."""
_STEPS = 100


def pair_losses(chosen: Tensor, rejected: Tensor, probabilities: Tensor, margins: Tensor) -> Tensor:
    """Return -p log s(d) - (1-p) log s(-d), shape (pairs,), with d = chosen - rejected - margin.

    s is the logistic function. With p = 1 and no margin that is Bradley and Terry's (1952) likelihood, as in
    2203.02155, equation 1; a p between is the judge's own probability (2212.08073, section 4.1); a margin the better
    answer has to win by is Llama 2's (2307.09288, equation 2).
    """
    gaps = chosen - rejected - margins
    return -probabilities * logsigmoid(gaps) - (1 - probabilities) * logsigmoid(-gaps)


def certainty_margins(probabilities: Tensor, most: float) -> Tensor:
    """Return `most` times 2p - 1, shape (pairs,): all of it for a certain label, nothing for a tie.

    Llama 2 has a step for each of the annotators' four words, from `negligibly better` with 0 to `significantly better`
    with 1 or 3 (2307.09288, section 3.2.2 and table 27); here the label says itself how certain it is.
    """
    return most * (2 * probabilities - 1)


def list_losses(scores: Tensor, ranks: Tensor, lists: Tensor) -> Tensor:
    """Return the negative log-likelihood of each list's order, shape (lists,), the lists numbered from 0.

    Plackett (1975) and Luce (1959): the best is drawn with the probability softmax(scores), then the best of the rest,
    and so on; as a loss for learning to rank, ListMLE (Xia et al. 2008, "Listwise approach to learning to rank"). Of
    two answers that is Bradley and Terry's. `ranks` are 1 for the best; answers of one rank were drawn from the same
    rest (Breslow 1974, for the same likelihood in survival analysis).
    """
    rest = (lists[:, None] == lists[None]) & (ranks[None] >= ranks[:, None])
    drawn_from = torch.where(rest, scores[None], -torch.inf).logsumexp(1)
    whole = torch.zeros(int(lists.max()) + 1, dtype=scores.dtype, device=scores.device)
    return whole.index_add(0, lists, drawn_from - scores)


def squared_errors(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the squared error of each score, shape (answers,), in the data's unit squared."""
    return (scores - labels) ** 2


def level_losses(scores: Tensor, levels: Tensor, thresholds: Tensor) -> Tensor:
    """Return the negative log-likelihood of each answer's level, shape (answers,).

    The proportional-odds model (McCullagh 1980, "Regression models for ordinal data"): P(level <= k) = s(t_k - score),
    s being the logistic function and t the `thresholds`, ascending, one fewer than there are levels; one score moves
    all of them alike. `levels` count from 0. With a < b, s(b) - s(a) = s(b) s(-a) (1 - exp(a - b)), which stays exact
    in both tails.
    """
    edge = torch.full((1,), torch.inf, dtype=thresholds.dtype, device=thresholds.device)
    edges = torch.cat([-edge, thresholds, edge])
    low, high = edges[levels] - scores, edges[levels + 1] - scores
    return -(logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(edges[levels] - edges[levels + 1])))


def centre_penalties(scores: Tensor, lists: Tensor) -> Tensor:
    """Return (2 m)² of each list, shape (lists,), m being the mean of its scores.

    A likelihood of comparisons leaves a prompt's scores free to move together; this holds them at 0. Of a pair it is
    (chosen + rejected)², Eisenstein et al.'s (2312.09244), as TRL has it.
    """
    count = int(lists.max()) + 1
    zeros = torch.zeros(count, dtype=scores.dtype, device=scores.device)
    means = zeros.index_add(0, lists, scores) / torch.bincount(lists, minlength=count)
    return (2 * means) ** 2


def first_thresholds(counts: Tensor) -> Tensor:
    """Return the thresholds under which scores of 0 give levels of these frequencies, in log-odds, ascending."""
    shares = (counts.double() + 0.5) / (counts.sum() + 0.5 * len(counts))
    return torch.logit(shares.cumsum(0)[:-1])


def length_slope(loss: Callable[[Tensor], Tensor], lengths: Tensor) -> float:
    """Return how much score a token is worth, where length is all that scores are made of.

    `loss` is the mean loss of the scores of answers of these lengths. The slope that minimises it is held fixed beside
    the model's score while the model is trained, and is no part of it afterwards: a product of experts, one of which
    knows nothing but length (2310.05199 of reward models; 1909.03683 of an expert that is fitted first).
    """
    size, middle = lengths.double().std(unbiased=False), lengths.double().mean()
    if not size > 0:
        return 0.0
    scaled = (lengths.double() - middle) / size
    slope, level = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.LBFGS([slope, level], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(slope * scaled + level) + _PRIOR * slope**2
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(slope.detach() / size)
