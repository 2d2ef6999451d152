"""Public layouts of data sets, as descriptors: how a file of each is told, and how its rows become our columns.

`SHAPES` lists them; one more is a descriptor (`descriptor.Shape`) in one of its lists. `recognising.shaped` finds the
one that a source has, says so in a remark, and asks where two could be meant. A layout that cai writes too has the
name of its format in `cai export --format`.
"""

from cai.data.shapes.conversations import CONVERSATIONS
from cai.data.shapes.descriptor import Shape
from cai.data.shapes.instructions import INSTRUCTIONS
from cai.data.shapes.pairs import PAIRS
from cai.data.shapes.ranked import RANKED
from cai.data.shapes.reviewed import REVIEWED

SHAPES: tuple[Shape, ...] = (*CONVERSATIONS, *PAIRS, *RANKED, *INSTRUCTIONS, *REVIEWED)
