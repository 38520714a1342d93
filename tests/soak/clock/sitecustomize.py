"""Python runs this at its start where it is on the path: the clock of its process goes wrong by what a file says.

SOAK_CLOCK names the file, which holds seconds as a C double and may change at any time. A namespace of Linux cannot
shift this clock, so `time.time` is replaced before any other module takes it. What asks the system without Python
(PostgreSQL, the time of a file, `datetime.now`) is not shifted.
"""

import mmap
import os
import struct
import time


def _shift(file: str) -> None:
    with open(file, "rb") as opened:
        seconds = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)
    usual, usual_ns = time.time, time.time_ns

    def off() -> float:
        return struct.unpack_from("d", seconds)[0]

    time.time = lambda: usual() + off()
    time.time_ns = lambda: usual_ns() + int(off() * 1e9)


if _file := os.environ.get("SOAK_CLOCK"):
    _shift(_file)
