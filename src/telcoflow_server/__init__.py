"""The server: phones, mixing, control and media links. Of the SDK, only `protocol` and `audio`."""

import os

# One thread for numpy's arithmetic, whichever BLAS it was built with. These are read once, when
# numpy is loaded, so they stand in the package that everything importing numpy is part of. The
# products of a tick are far too small to share out: a thread pool costs more than it saves, and
# its spinning workers would take the cores that calls need. A value set by the operator wins.
for _variable in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
):
    os.environ.setdefault(_variable, "1")
