"""Tables with anything in them: they are read, or refused in a sentence that names the table.

`make soak` runs many cases, tests/test_tables.py a few.
"""

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pictures import numbered

from vptlib.data.readers import read
from vptlib.errors import UserError
from vptlib.report.words.en import sentence

_CELLS = (
    *("img/0.png", "img/1.png", "img\\2.png", "IMG/3.PNG", " img/4.png ", "./img/5.png", "img/99.png", "../x.png"),
    *(
        "C:\\img\\0.png",
        "\\\\server\\a.png",
        "http://a/b.png",
        "/etc/hosts",
        "img",
        ".",
        "..",
        "~",
        "a" * 300,
        "a/" * 3000,
    ),
    *("cat", "dog", "Cat", "cat ", " cat", "None", "NA", "nan", "", " ", "1", "01", "1.0", "1,5", "1e400", "-1", "inf"),
    *(
        "9" * 5000,
        "²",
        "３",
        "傷",
        "Größe",
        "трещина",
        "ﾖｺﾞﾚ",
        "e\u0301",
        "\u00e9",
        "\ufeff",
        "\u200b",
        "\u202e",
        "$x_1$",
    ),
    *(
        "train",
        "TEST",
        "valid",
        "eval",
        "holdout",
        "unlabeled",
        "train[:10%]",
        "訓練",
        "site 1",
        "=1+1",
        "a\nb",
        'a"b',
        "\0",
    ),
    *("a,b", "a;b", "a\tb", "a|b", "\x1a", "\x85", "\u2028", "sep=;", "#", "'", "\x1b[31m"),
)
_HEADERS = (
    "path",
    "label",
    "group",
    "split",
    "Path",
    " Label ",
    "image",
    "class",
    "file",
    "target",
    "",
    "label",
    "subset",
)
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp932", "euc_jp", "cp1252", "cp1251")
_OPTIONS = ("?label=class", "?path=file", "?encoding=cp932", "?encoding=nonsense", "?encoding=base64", "?split=")


def cases(seed: int, count: int) -> Iterator[tuple[str, bytes, str]]:
    """Name of a table, its bytes, and options; always the same for a seed."""
    draw = random.Random(seed)
    for _ in range(count):
        suffix = draw.choice((".csv", ".csv", ".csv", ".tsv", ".parquet"))
        make = _parquet if suffix == ".parquet" else draw.choice((_anything, _rows, _rows, _changed))
        yield f"list{suffix}", make(draw), draw.choice(_OPTIONS) if draw.random() < 0.2 else ""


def _anything(draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(200))


def _rows(draw: random.Random) -> bytes:
    """A table of likely cells, with any separator, quotes, line ends and encoding."""
    separator, quote = draw.choice(",,,;\t|"), draw.choice(('"', '"', ""))
    header = ["path", "label", "group", "split"][: draw.randint(2, 4)]
    if draw.random() < 0.3:
        header = draw.choices(_HEADERS, k=draw.randint(1, 5))
    lines = [header] if draw.random() < 0.95 else []
    strange = draw.choice((0.0, 0.02, 0.2))  # share of the cells
    for k in range(draw.randint(0, 12)):
        usual = [f"img/{k % 8}.png", "ab"[k // 2 % 2], f"s{k % 8}", ("train", "test")[k % 2], "x"]
        cells = usual[: len(header) if draw.random() < 0.98 else draw.randint(1, 5)]
        lines.append([draw.choice(_CELLS) if draw.random() < strange else cell for cell in cells])
    ends = draw.choice(("\n", "\r\n", "\r", "\n\n"))
    text = ends.join(separator.join(f"{quote}{cell}{quote}" for cell in line) for line in lines)
    if draw.random() < 0.1:
        text = f"sep={draw.choice(',;|')}{ends}{text}"
    return text.encode(draw.choice(_ENCODINGS), "replace")


def _changed(draw: random.Random) -> bytes:
    changed = bytearray(_rows(draw) or b"path,label\n")
    for _ in range(draw.randint(1, 5)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed[: draw.randint(1, len(changed))])


def _parquet(draw: random.Random) -> bytes:
    """A table of columns of any type, perhaps with some bytes changed."""
    count = draw.randint(0, 8)
    columns = {
        "path": [f"img/{k}.png" for k in range(count)],
        "label": draw.choice(
            (
                [k % 2 for k in range(count)],
                [k % 2 / 2 for k in range(count)],
                [bool(k % 2) for k in range(count)],
                [None if k == 3 else "ab"[k % 2] for k in range(count)],
                [float("nan") if k == 3 else float(k % 2) for k in range(count)],
                [b"ab\xff"[k % 3 : k % 3 + 1] for k in range(count)],
                [[k] for k in range(count)],
                [{"bytes": b"x", "path": None} for _ in range(count)],
                pd.Categorical(["ab"[k % 2] for k in range(count)]),
                pd.to_datetime([f"2026-01-0{1 + k % 2}" for k in range(count)]),
            )
        ),
    }
    if draw.random() < 0.5:
        columns["group"] = [draw.choice((1.0, 2.0, 3.0, 4.0, None)) for _ in range(count)]
    stored = io.BytesIO()
    pd.DataFrame(columns).to_parquet(stored)
    content = bytearray(stored.getvalue())
    for _ in range(draw.choice((0, 0, 1, 4))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def check(case: tuple[str, bytes, str], folder: Path) -> None:
    """Read this table in an empty or earlier used `folder`; raises what a user must never see."""
    name, content, options = case
    if not (folder / "img").is_dir():
        numbered(folder / "img", 8)
    (folder / name).write_bytes(content)
    try:
        found = read(f"table:{folder / name}{options}")
    except UserError as error:
        assert name in str(error) or "groups" in str(error), f"names no table: {error}"
        str(error).encode()  # it can be printed
        return
    assert all(path.is_file() for path in found.images.paths)
    assert all(name.strip() for name in found.class_names)
    assert all(sentence(remark.what) for remark in found.remarks)
