"""Lists of VTAB-1k with anything in them: they are read, or refused in a sentence that names file and line.

`make soak` runs many cases, tests/test_tables.py a few.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from pictures import numbered

from vptlib.data.readers import read
from vptlib.errors import UserError

_GOOD = b"images/0.png 0\nimages/1.png 1\n"
_PIECES = (
    *(b"images/0.png", b"images/1.png", b"images/my photo.png", b"images/9.png", b"images", b"../x.png", b"/etc/hosts"),
    *(
        b" 0",
        b"\t1",
        b" 2",
        b" 3",
        b" -1",
        b" +1",
        b" 01",
        b" 4",
        b" 1.0",
        b" 1e3",
        b" " + b"9" * 30,
        b" " + b"9" * 5000,
    ),
    *(
        " ²".encode(),
        " ３".encode(),
        b" 0x1",
        b" ",
        b"\xc2\xa0",
        b"\xe3\x80\x80",
        b"\0",
        b"\\",
        b"~",
        b"*",
        b"%s",
        b".",
    ),
    *(b"\n", b"\r\n", b"\r", b"\x0b", b"\x0c", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"a" * 300, b"a/" * 2500, "傷".encode(), "傷".encode("cp932"), b"\xed\xa0\x80", b"\x1a", b"\x1b[31m"),
)
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp932", "cp1252")


def cases(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Which of the lists is replaced, and by what; always the same for a seed."""
    draw = random.Random(seed)
    for _ in range(count):
        yield draw.choice(("train800val200.txt", "test.txt", "val200.txt")), _list(draw)


def _list(draw: random.Random) -> bytes:
    kind = draw.randrange(4)
    if kind == 0:
        return draw.randbytes(draw.randrange(120))
    if kind == 1:  # a proper list with some bytes changed
        changed = bytearray(_GOOD * draw.randint(1, 4))
        for _ in range(draw.randint(1, 6)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        return bytes(changed)
    if kind == 2:  # a proper list in some encoding, perhaps cut
        stored = _GOOD.decode().encode(draw.choice(_ENCODINGS))
        return stored[: draw.randint(0, len(stored))]
    return _GOOD * draw.randrange(2) + b"".join(draw.choices(_PIECES, k=draw.randint(1, 8)))


def check(case: tuple[str, bytes], folder: Path) -> None:
    """Read a task with this list in an empty or earlier used `folder`; raises what a user must never see."""
    name, content = case
    task = folder / "kitti"
    if not task.is_dir():
        numbered(task / "images", 2)
        (task / "images" / "0.png").rename(task / "images" / "my photo.png")
        numbered(task / "images", 1)
    for other in ("train800val200.txt", "test.txt"):
        (task / other).write_bytes(_GOOD)
    (task / "val200.txt").write_bytes(b"images/1.png 1\n")
    (task / name).write_bytes(content)
    try:
        found = read(f"vtab:{task}")
    except UserError as error:
        assert name in str(error) or "val200.txt" in str(error), f"names no list: {error}"
        str(error).encode()  # it can be printed
        return
    assert found.labels.min() >= 0 and found.labels.max() < 4
    assert all(path.is_file() for path in found.images.paths)
