"""A figure on a page: two drawings, for wide and narrow screens, in the colours of a light or a dark page.

A drawing is an SVG inside the page, so that nothing is fetched. Text in it is outlines; its colours are variables that
follow `prefers-color-scheme`; on paper they are the light ones. Its data can be downloaded as CSV.
"""

import base64
import io
import re
from collections.abc import Callable
from html import escape

import pandas as pd
from IPython.display import HTML
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from vptlib.report.fonts import without_glyph_warnings
from vptlib.report.style import HALF, NARROW, NARROW_SCREEN, WIDE, dark_colour, drawn_at
from vptlib.report.words import gettext as _

NARROW_SCREENS = f"screen and (max-width: {NARROW_SCREEN}px)"  # paper has the wide figure
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_PIXELS = 96  # an inch


def figure(
    draw: Callable[[], Figure], caption: str, alt: str, data: pd.DataFrame | None = None, name: str = ""
) -> HTML:
    """A figure with its caption, in the language that is spoken now.

    Args:
        draw: draws it; called once within `drawn_at(WIDE)` and once within `drawn_at(NARROW)`.
        caption: what it shows, under it; plain text.
        alt: what it shows, for those who cannot see it; plain text.
        data: its numbers, offered as a CSV file, or None.
        name: of that file, without its ending.
    """
    wide, narrow = (_drawing(draw, width) for width in (WIDE, NARROW))
    kind = "drawn half" if wide.inches <= HALF else "drawn tall" if wide.high > 0.8 * wide.inches else "drawn"
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return HTML(
        f'<figure class="{kind}" role="group">'  # without a role its tag in a PDF would need an alt text too
        f'<picture><source media="{NARROW_SCREENS}" srcset="{narrow.address}" {narrow.size}>'
        f'<img src="{wide.address}" {wide.size} alt="{escape(alt)}"></picture>'
        f"{below}{_download(data, name) if data is not None else ''}</figure>"
    )


class _Drawing:
    """An SVG as a data address, with its own size."""

    def __init__(self, fig: Figure):
        self.inches, self.high = fig.get_size_inches()
        self.address = f"data:image/svg+xml;base64,{base64.b64encode(svg(fig).encode()).decode()}"
        self.size = f'width="{self.inches * _PIXELS:.0f}" height="{self.high * _PIXELS:.0f}"'


def _drawing(draw: Callable[[], Figure], width: float) -> _Drawing:
    with drawn_at(width), without_glyph_warnings():
        fig = draw()
        plt.close(fig)
        return _Drawing(fig)


def _download(data: pd.DataFrame, name: str) -> str:
    """A link to the numbers. The mark at their start tells spreadsheets that they are UTF-8."""
    text = data.map(_harmless).to_csv(index=False, lineterminator="\n")
    code = base64.b64encode(b"\xef\xbb\xbf" + text.encode()).decode()
    file = escape(f"{name or 'data'}.csv")
    says = _("Data (CSV)")
    return (
        f'<a class="data" download="{file}" href="data:text/csv;base64,{code}" aria-label="{says}: {file}">{says}</a>'
    )


def _harmless(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


# ---- the SVG ----------------------------------------------------------------------------------------------------

_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_LONG_NUMBER = re.compile(r"-?\d+\.\d+")
_GLYPH = re.compile(r'<path id="([^"]+)" d="([^"]*)" transform="scale\(0.015625\)"')
_COARSER = 20  # than matplotlib's units of glyphs: 320 units for the height of the type are plenty
_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
_JPEG_QUALITY, _LEAST_PICTURE = 82, 2000  # bytes of a PNG that is left as it is


def svg(fig: Figure) -> str:
    """A figure as a small SVG on a transparent ground, whose colours have a dark version; the same each time."""
    buffer = io.BytesIO()
    with plt.rc_context({"svg.hashsalt": "vptlib", "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", metadata=_METADATA, transparent=True)
    return _in_both_schemes(_smaller(buffer.getvalue().decode()))


def _smaller(text: str) -> str:
    """Without what a browser does not need: prolog, comments, digits, names that nothing refers to."""
    text = re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    referred = {name: f"r{k:x}" for k, name in enumerate(dict.fromkeys(re.findall(r'#([^"()]+)[")]', text)))}
    text = _GLYPH.sub(
        lambda m: f'<path id="{m[1]}" d="{_from_point_to_point(m[2])}" transform="scale({_COARSER * 0.015625})"', text
    )
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{referred[m[1]]}"' if m[1] in referred else "", text)
    text = re.sub(r'(url\(|href=")#([^")]+)', lambda m: f"{m[1]}#{referred[m[2]]}", text)
    text = re.sub(r'(<use [^>]*?) transform="translate\((\S+) 0\)"', r'\1 x="\2"', text)
    text = re.sub(r'([\w-]+)="([^"]*)"', lambda m: f'{m[1]}="{_rounded(m[2])}"', text)
    return re.sub(r">\s+<", "><", _PNG.sub(_smallest_picture, text))


def _from_point_to_point(path: str) -> str:
    """The outline of a glyph in coarser, whole units, each point from the one before: shorter than from the origin."""
    said, here, start = [], (0, 0), (0, 0)
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        values = [round(float(number) / _COARSER) for number in numbers.split()]
        points = list(zip(values[::2], values[1::2], strict=True))
        steps = " ".join(f"{x - here[0]} {y - here[1]}" for x, y in points).replace(" -", "-")
        said.append(command.lower() + steps)
        here = points[-1] if points else start
        start = here if command == "M" else start
    return "".join(said)


def _rounded(value: str) -> str:
    """Numbers with four digits or two decimals; data addresses and other texts stay."""
    if value.startswith(("data:", "#")):
        return value
    return re.sub(r"\s+", " ", _LONG_NUMBER.sub(lambda m: _short(float(m[0])), value)).strip()


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".") if abs(number) >= 10 else f"{number:.4g}"


def _smallest_picture(found: re.Match[str]) -> str:
    """A picture in a figure as JPEG where that is shorter and nothing shows through it."""
    code = re.sub(r"\s+", "", found[1])
    whole = base64.b64decode(code)
    picture = Image.open(io.BytesIO(whole))
    if len(whole) > _LEAST_PICTURE and picture.convert("RGBA").getchannel("A").getextrema() == (255, 255):
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
        if buffer.tell() < len(whole):
            return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f"data:image/png;base64,{code}"


def _in_both_schemes(text: str) -> str:
    """Each colour as a variable, which a dark page sets anew."""
    head, body = text.split("</style>", 1)
    parts = re.split(r'(style="[^"]*")', body)
    colours = dict.fromkeys(found for part in parts[1::2] for found in _COLOUR.findall(part))
    changed = {colour: dark_colour(colour) for colour in colours if dark_colour(colour) != colour}
    light, dark = ("".join(f"--c{colour[1:]}:{value};" for colour, value in both) for both in (
        [(colour, colour) for colour in changed], changed.items()
    ))  # fmt: skip
    parts[1::2] = [_COLOUR.sub(lambda m: f"var(--c{m[0][1:]})" if m[0] in changed else m[0], p) for p in parts[1::2]]
    scheme = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return f"{head}{scheme}</style>{''.join(parts)}"
