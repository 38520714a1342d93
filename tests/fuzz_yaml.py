"""Seeded YAML texts, right and wrong: `read_config` and `-y` give settings or a `UserError` of one line.

`cases` makes the texts and `check` tries one; `make soak` calls them with larger counts.
"""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vptlib.course.run_notebook import parsed
from vptlib.errors import UserError
from vptlib.report.config import read_config
from vptlib.report.settings import ReportSettings, settings_table

BASE = """\
# a comment
title: "Screws: visual prompts or not?"
tasks: [digits, object-count]
methods: [linear, vpt-deep, full]
sizes: [50, 150]
seeds: [0, 1, 2]
steps: 200
image_size: null
margin: 0.02
conditions:
  - {label_noise: 0.2}
  - corruption: blur
    severity: 2
time: 30m
reference: photographs
"""
VALUES = """\
050 01 0o17 0x1F 0b11 1_000 1:40 190:20:30 2026-11-28 2026-11-28T10:00:00Z 1e-3 1e999 .inf -.INF .nan ~ null Null yes
no on off Yes NO true True TRUE false y n - -- ? : , = << * & ! | > % @ ` # "" '' [] {} [[]] {a} {a:1} {?a:b} 0 -0 +1
-1 1.0 1. .5 0,5 1,000 4294967296 99999999999999999999 all auto digits ./photos hf:a/b folder:x?skip=unreadable vtab:.
table:a.csv?label=k file:~/x ~/x ~nobody/x *x &x !x !!str !!python/object:os.system !!binary !!set !!timestamp .. . /
{label_noise:0.1} {<<:*x} "\\ud800" "\\ud83d\\ude00" "\\0" "\\x07" "\\UFFFFFFFF" "\\q" 'it''s' "a\\ \\n  b" $x^$ %YAML
""".split()  # noqa: SIM905 (a list would take a page)
PIECES = [
    *(
        "---\n",
        "...\n",
        "\t",
        "\n",
        "\r\n",
        "\r",
        "\x85",
        "\u2028",
        "\ufeff",
        "\x00",
        "\x1b",
        "\x7f",
        "\ud800",
        "\udce9",
    ),
    *("&a ", "*a", "<<: *a\n", "? ", ": ", "- ", "[", "]", "{", "}", '"', "'", "|\n", ">\n", "#", "%YAML 1.1\n---\n"),
    *(
        "%YAML 9.9\n---\n",
        "%TAG ! x\n---\n",
        "!<tag:x>",
        "!!python/name:os.system",
        "\\",
        "é",
        "日本語",
        "😀",
        "e\u0301",
    ),
    *("[" * 5000, "{" * 5000, "- " * 3000, "? " * 2000, "x" * 20_000, "9" * 5000, "a: &a [x, x]\nb: &b [*a, *a]\n"),
]
SPECIAL = [
    "a: &a [x]\n" + "".join(f"b{k}: &b{k} [{', '.join([f'*b{k - 1}' if k else '*a'] * 9)}]\n" for k in range(9)),
    "&a [*a]",
    "&a {k: *a}",
    "{}",
    "tasks: &t [digits]\nmethods: *t",
    BASE.replace("\n", "\r\n"),
    "\ufeff" + BASE,
    BASE * 2,
    "---\n" + BASE + "---\n" + BASE,
    "".join(f"k{k}: 1\n" for k in range(3000)),
]


def cases(seed: int, count: int) -> Iterator[bytes]:
    """`count` files; the same for the same seed."""
    draw, names = random.Random(seed), [row.name for row in settings_table()]
    kinds = [_value_changed, _value_changed, _new_lines, _pieces_put_in, _cut, _bytes_changed, _encoded, _special]
    for _ in range(count):
        yield draw.choice(kinds)(draw, names)


def check(case: bytes) -> None:
    """Read one text as a report's file and as parameters of a lesson.

    Raises:
        AssertionError: a message of more than one line or without the file's name, or values of the wrong kind.
        Exception: anything other than a `UserError`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.yaml"
        path.write_bytes(case)
        try:
            config = read_config(path)
            assert isinstance(config.settings, ReportSettings)
            assert all(type(seed) is int for study in config.studies() for seed in study.seeds)
            config.harder_studies()
        except UserError as error:
            assert "mine.yaml" in str(error) and "\n" not in str(error), str(error)
    try:
        parsed([case.decode("utf-8", "surrogateescape")])
    except UserError as error:
        assert str(error).startswith("-y ") and "\n" not in str(error), str(error)


# ---- kinds of texts ---------------------------------------------------------------------------------------------


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape")


def _value(draw: random.Random) -> str:
    one = draw.choice(VALUES)
    shape = draw.choice(
        ["{0}", "{0}", "[{0}]", "[{0}, {1}]", "{{a: {0}}}", "[{{label_noise: {0}}}]", "{0} {1}", '"{0}"']
    )
    return shape.format(one, draw.choice(VALUES))


def _value_changed(draw: random.Random, names: list[str]) -> bytes:
    return _raw(f"tasks: [digits]\n{draw.choice(names)}: {_value(draw)}\n")


def _new_lines(draw: random.Random, names: list[str]) -> bytes:
    lines = BASE.splitlines()
    for _ in range(draw.choice([1, 2, 4])):
        name = draw.choice([*names, *VALUES])
        lines.insert(draw.randrange(len(lines) + 1), f"{' ' * draw.choice([0, 0, 1, 2, 4])}{name}: {_value(draw)}")
    return _raw("\n".join(lines))


def _pieces_put_in(draw: random.Random, names: list[str]) -> bytes:
    text = draw.choice([BASE, f"tasks: [digits]\n{draw.choice(names)}: 1\n"])
    for _ in range(draw.choice([1, 1, 2, 4])):
        place = draw.randrange(len(text) + 1)
        text = text[:place] + draw.choice(PIECES) + text[place:]
    return _raw(text)


def _cut(draw: random.Random, names: list[str]) -> bytes:
    start, end = sorted(draw.randrange(len(BASE) + 1) for _ in range(2))
    return _raw(draw.choice([BASE[:start], BASE[start:], BASE[:start] + BASE[end:], BASE + BASE[start:end]]))


def _bytes_changed(draw: random.Random, names: list[str]) -> bytes:
    raw = bytearray(_raw(BASE))
    for _ in range(draw.choice([1, 2, 5, 40])):
        raw[draw.randrange(len(raw))] = draw.randrange(256)
    return bytes(raw)


def _encoded(draw: random.Random, names: list[str]) -> bytes:
    text = BASE.replace("Screws", "ねじ é")
    encoding = draw.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp932", "cp1252", "utf-7"])
    raw = text.encode(encoding, "replace")
    return raw[: draw.choice([len(raw), draw.randrange(len(raw))])]


def _special(draw: random.Random, names: list[str]) -> bytes:
    return _raw(draw.choice(SPECIAL))
