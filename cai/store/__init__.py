"""A run directory: the only state a run has.

`Run` writes one, `RunReader` looks at one, `Manifest` is its run.json; `layout` says what lies where. A run may be at a
URL: `working_copy` is the directory to write it in, `checkout` the one to read it from, and both are run directories.
"""

from cai.store.checkout import checkout, working_copy
from cai.store.manifest import Manifest, Status
from cai.store.reader import RunReader
from cai.store.run import Run

__all__ = ["Manifest", "Run", "RunReader", "Status", "checkout", "working_copy"]
