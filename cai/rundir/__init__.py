"""A run directory: the only state a run has.

`Run` writes one, for the prompts of its `Inputs`; `RunReader` looks at one, `Manifest` is its run.json; `layout` says
what lies where. A run may be at a URL: `working_copy` is the directory to write it in, `checkout` the one to read it
from, and both are run directories.
"""

from cai.rundir.checkout import checkout, working_copy
from cai.rundir.inputs import Inputs
from cai.rundir.manifest import Manifest, Status
from cai.rundir.reader import RunReader
from cai.rundir.run import Run

__all__ = ["Inputs", "Manifest", "Run", "RunReader", "Status", "checkout", "working_copy"]
