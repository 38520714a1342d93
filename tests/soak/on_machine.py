"""What is other on the machines of the soak: pauses and claims are short, and a file says when a worker has work.

Dask loads this at the start of a worker (`--preload`), before vptlib is there.
"""

import os
from pathlib import Path
from typing import Any

from vptlib import signs_of_life
from vptlib.study import claims, outages

BEAT, EXPIRY = 1.0, 8.0  # seconds; elsewhere 10 and 120
STALE = 12.0  # seconds after which a claim that nobody wants is taken down; elsewhere an hour
BUSY = "SOAK_BUSY"  # names the file that is there while work is done


def hasten() -> None:
    """Let this process wait for seconds where others wait for minutes."""
    outages.FIRST_PAUSE, outages.LONGEST_PAUSE = 0.2, 1.0
    claims.Claims.__init__.__defaults__ = (BEAT, EXPIRY)
    claims.STALE = STALE


def dask_setup(_worker: Any) -> None:
    """Called by Dask in a new worker."""
    hasten()
    file, usual = Path(os.environ[BUSY]), signs_of_life.begin
    file.unlink(missing_ok=True)

    def begin() -> None:
        """Called when a piece of work begins, and when it is over."""
        usual()
        if file.exists():
            file.unlink()
        else:
            file.touch()

    signs_of_life.begin = begin
