"""What a training asks of the machine: its models, those held beside them, and the sequences that go through."""

from transformers import PreTrainedTokenizerBase

from cai.models.reward_model import reads_the_same
from cai.train.adapters import ADAPTERS
from cai.train.data.examples import Examples
from cai.train.hardware import Workload
from cai.train.methods.descriptor import TrainingMethod
from cai.train.methods.online import OnlineSettings
from cai.train.model import ModelShape
from cai.train.settings import AdapterSettings, TrainSettings


def sequences_of(method: TrainingMethod, examples: Examples) -> int:
    """Return how many sequences an example puts through the model, of ranked answers the longest list's."""
    if examples.kind != "ranked":
        return method.sequences
    return max(len(answers) for rows in examples.train.iter(batch_size=1000) for answers in rows["answers"])


def workload_of(
    method: TrainingMethod,
    settings: TrainSettings,
    shape: ModelShape,
    tokenizer: PreTrainedTokenizerBase,
    longest: int,
    sequences: int,
) -> Workload:
    """Return the workload of examples of which the longest has so many tokens."""
    adapter = settings.adapter
    online = settings.own if isinstance(settings.own, OnlineSettings) else None
    context = shape.context
    kind = None if adapter.adapter == "none" else ADAPTERS[adapter.adapter]
    if context is not None and kind is not None and kind.virtual:
        context -= kind.size_of(adapter)  # virtual tokens take places of their own
    # A value model is trained like the policy beside it; an adapter's shares the policy's frozen weights.
    valued = shape.trained if method.value_model else 0
    beside, single = 0, 0
    if online is not None:
        beside = _beside(method, online, adapter, shape, tokenizer)
        single = shape.parameters * len(online.reward_model)
    elif settings.tasks.task_gradients != "summed":  # one a task, in the precision of what is trained
        gradients = shape.trained * len(settings.data.data)
        beside, single = (gradients, 0) if kind is None else (0, gradients)
    return Workload(
        parameters=shape.held + valued,
        trained=shape.trained + valued,
        layers=shape.layers,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
        longest=longest,
        context=context,
        sequences=sequences,
        logits=method.whole_logits,
        quantized=adapter.quantize,
        drawn=0 if online is None else online.max_tokens,
        beside=beside,
        beside_single=single,
        checkpoints=kind is None or kind.checkpoints,
    )


def _beside(
    method: TrainingMethod,
    online: OnlineSettings,
    adapter: AdapterSettings,
    shape: ModelShape,
    tokenizer: PreTrainedTokenizerBase,
) -> int:
    """Return the parameters of whole models that are held frozen beside a policy that draws responses: as large as it.

    The reference, where there is no adapter to be turned off, and a value model's body under an adapter, where it is
    not the policy's own. Reward models count apart; a judge has an engine of its own.
    """
    if adapter.adapter == "none":
        return shape.parameters * bool(online.kl_penalty)
    first = next(iter(online.reward_model), None)
    return shape.parameters * (method.value_model and first is not None and reads_the_same(first, tokenizer))
