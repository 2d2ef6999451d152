"""How a machine is used: precision, checkpointing and batch, from what the model and the data need.

Memory is reckoned, not tried. A trained parameter takes 16 bytes in float32 with AdamW (weight, gradient, two moments)
and 8 in bfloat16; a frozen one 2 (4 in float32, about 0.6 in 4 bits). A layer's activations take 34 bytes a token and
hidden unit in 16 bits, or 2 when it is checkpointed (arXiv 2205.05198, section 4.1, flash attention keeping no score
matrix); float32 doubles both. Whole models that are held frozen beside the trained one, such as PPO's reference, take 2
bytes a parameter, or 4 in float32; reward models are always held in that. Nothing here looks at a device, so that every
machine can be reasoned about anywhere.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from cai.core.errors import UsageError
from cai.train.machine import Machine

Precision = Literal["float32", "bfloat16"]

_USABLE = 0.85  # of the device's memory: the rest is for the allocator's gaps, kernels and a batch's logits
_FULL_SHARE = 0.6  # of the memory that float32 master weights and their optimiser may take on a GPU
_BUSY_TOKENS = 8192  # a micro-batch of so many tokens keeps a GPU busy; larger is not worth checkpointing for
_ALIGNMENT = 8  # tokens that a maximal length is rounded up to


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be trained: counts of parameters, the model's shape, and the longest example in tokens.

    `drawn` counts the tokens of a response that the policy draws to the longest, which is a prompt then. `sequences` is
    how many sequences one example puts through the model (2 for a pair). `logits` says whether the
    whole vocabulary's logits are kept, which TRL's fused head avoids. `context` is the model's own limit in tokens.
    `beside` counts the numbers that are held beside in the precision of the weights, such as a frozen reference's,
    `beside_single` those in float32 whatever that is, such as reward models'; `checkpoints` says whether activations
    may be computed again in the backward pass.
    """

    parameters: int
    trained: int
    layers: int
    hidden: int
    vocabulary: int
    longest: int
    context: int | None
    sequences: int
    logits: bool
    quantized: bool
    drawn: int = 0
    beside: int = 0
    beside_single: int = 0
    checkpoints: bool = True

    def state(self, weights: Precision) -> float:
        """Return the bytes that stay while it is trained, whatever the batch: see `state_bytes`."""
        frozen = self.beside * (4 if weights == "float32" else 2) + self.beside_single * 4
        return frozen + state_bytes(self.parameters, self.trained, weights, quantized=self.quantized)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user settled already; None is chosen. `batch` counts examples an optimiser step over all processes."""

    batch: int
    max_length: int | None = None
    packing: bool = False
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What was settled.

    `weights` is how parameters are held, `bfloat16` whether the arithmetic is done in it (autocast over float32
    weights, or directly). A step sees `micro_batch` x `accumulation` x `processes` examples.
    """

    machine: str
    device: Literal["cpu", "cuda", "mps"]
    weights: Precision
    bfloat16: bool
    checkpointing: bool
    micro_batch: int
    accumulation: int
    processes: int
    max_length: int
    packing: bool

    @property
    def batch(self) -> int:
        """Examples an optimiser step."""
        return self.micro_batch * self.accumulation * self.processes

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return asdict(self)

    def sentence(self) -> str:
        """Return what a person reads."""
        precision: str = self.weights
        if self.bfloat16 and self.weights == "float32":
            precision += " weights, bfloat16 arithmetic"
        batch = f"batch {self.batch} = {self.micro_batch} x {self.accumulation}"
        if self.processes > 1:
            batch += f" x {self.processes} processes"
        checkpointing = "gradient checkpointing" if self.checkpointing else "no checkpointing"
        packing = "examples packed" if self.packing else "no packing"
        return f"on {self.machine}: {precision}, {batch}, {checkpointing}, {packing}, up to {self.max_length} tokens"


def settle(machine: Machine, workload: Workload, choices: Choices) -> Hardware:
    """Settle what the user left open; raises UsageError when what was asked for cannot be."""
    if choices.batch % machine.processes:
        raise UsageError(
            f"--batch-size {choices.batch} cannot be shared by {machine.processes} processes; give a multiple of them"
        )
    bfloat16 = _bfloat16(machine, choices.dtype)
    length = _max_length(workload, choices.max_length)
    halved = bfloat16 and machine.kind == "cuda" and not _float32_fits(machine, workload)
    weights: Precision = "bfloat16" if halved else "float32"
    free = machine.memory * _USABLE - workload.state(weights) / (machine.processes if machine.sharded else 1)
    share = choices.batch // machine.processes
    plain = _micro_batch(
        share, length * workload.sequences, free, _token_bytes(workload, bfloat16, checkpointing=False)
    )
    enough = plain == share or plain * length * workload.sequences >= _BUSY_TOKENS or not workload.checkpoints
    micro = plain
    if not enough:
        micro = _micro_batch(
            share, length * workload.sequences, free, _token_bytes(workload, bfloat16, checkpointing=True)
        )
    micro = max(micro, 1)
    return Hardware(
        machine=machine.name if machine.processes == 1 else f"{machine.processes} x {machine.name}",
        device=machine.kind,
        weights=weights,
        bfloat16=bfloat16,
        checkpointing=not enough,
        micro_batch=micro,
        accumulation=share // micro,
        processes=machine.processes,
        max_length=length,
        packing=choices.packing,
    )


def _bfloat16(machine: Machine, dtype: str) -> bool:
    if dtype == "auto":
        return machine.kind == "cuda" and machine.bfloat16
    if dtype not in ("float32", "bfloat16"):
        raise UsageError(f"--dtype {dtype} is none of auto, float32, bfloat16, the precisions that training can use")
    if dtype == "bfloat16" and not machine.bfloat16:
        raise UsageError(f"--dtype bfloat16 needs a GPU or a CPU that has it; {machine.name} trains in float32")
    return dtype == "bfloat16"


def _max_length(workload: Workload, asked: int | None) -> int:
    context = workload.context
    if asked is not None and context is not None and asked > context:
        raise UsageError(f"--max-length {asked} is more than the model's context of {context} tokens")
    if asked is not None and not workload.drawn:
        return asked
    # Responses are as long as they are drawn; what was asked for is the length of what is learned beside them.
    needed = -(-max(workload.longest + workload.drawn, asked or 0) // _ALIGNMENT) * _ALIGNMENT
    return needed if context is None else min(needed, context)


def _float32_fits(machine: Machine, workload: Workload) -> bool:
    """Whether trained weights are kept in float32 on a GPU: small updates are lost in bfloat16's eight bits."""
    if workload.quantized or workload.trained < workload.parameters:
        return False
    room = machine.memory * _FULL_SHARE * (machine.processes if machine.sharded else 1)
    return workload.state("float32") <= room


def state_bytes(parameters: int, trained: int, weights: Precision, *, quantized: bool) -> float:
    """Return the bytes of weights, gradients and optimiser; `parameters` are all, the trained ones among them."""
    frozen = parameters - trained
    if frozen:
        per_frozen = 0.6 if quantized else 2 if weights == "bfloat16" else 4
        return frozen * per_frozen + trained * 16
    return trained * (16 if weights == "float32" else 8)


def _token_bytes(workload: Workload, bfloat16: bool, *, checkpointing: bool) -> float:
    """Return the bytes of activations that one token leaves behind for the backward pass."""
    width = 1 if bfloat16 else 2
    layer = 34 * workload.hidden * width
    layers = workload.layers * 2 * workload.hidden * width + layer if checkpointing else workload.layers * layer
    return layers + (workload.vocabulary * 8 if workload.logits else 0)


def _micro_batch(share: int, tokens: int, free: float, token_bytes: float) -> int:
    """Return the largest divisor of a process's share that fits, or 0."""
    fitting = (
        size for size in range(share, 0, -1) if share % size == 0 and size * max(tokens, 1) * token_bytes <= free
    )
    return next(fitting, 0)
