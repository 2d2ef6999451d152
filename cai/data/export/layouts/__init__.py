"""The formats of `cai export --format`, as descriptors: what tools read beside TRL's columns.

`LAYOUTS` lists them; one more is an `ExportLayout` (`descriptor`) in it. What cai reads again has the name of its shape
in `cai.data.shapes`. TRL's own columns are no layout: they are what every format is made of, and what runs are read by.
"""

from collections.abc import Mapping

from cai.data.export.layouts.conversations import LLAMA_FACTORY, SHAREGPT
from cai.data.export.layouts.descriptor import ExportLayout
from cai.data.export.layouts.instructions import ALPACA
from cai.data.export.layouts.plain import CSV, JSONL
from cai.data.export.layouts.reviewing import ARGILLA
from cai.data.export.layouts.trainers import AXOLOTL, NEMO_RL, OPENRLHF, VERL

LAYOUTS: Mapping[str, ExportLayout] = {
    layout.name: layout
    for layout in (LLAMA_FACTORY, AXOLOTL, OPENRLHF, VERL, NEMO_RL, SHAREGPT, ALPACA, JSONL, CSV, ARGILLA)
}
