"""Numbers as people read them; the narrow space before a unit keeps the two on one line."""


def per_cent(fraction: float, digits: int = 1) -> str:
    """0.8234 → "82.3 %"."""
    return f"{100 * fraction:.{digits}f}\u202f%"


def points(difference: float) -> str:
    """-0.0234 → "−2.3": a difference in percentage points."""
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def decimals(value: float) -> str:
    """-0.134 → "−0.13"."""
    return f"{value:.2f}".replace("-", "\u2212")


def storage(size: float) -> str:
    """Bytes as kB or MB: 83_000 → "83 kB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g}\u202f{unit}"
    return f"{size:.0f} bytes"


def count(number: float) -> str:
    """12_800_000 → "12.8 million"; 5_130 → "5,130"."""
    return f"{number / 1e6:.3g}\u202fmillion" if number >= 1e6 else f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Seconds as s, min or h."""
    if seconds < 10:
        return f"{seconds:.1f}\u202fs"
    if seconds < 120:
        return f"{seconds:.0f}\u202fs"
    return f"{seconds / 60:.0f}\u202fmin" if seconds < 7200 else f"{seconds / 3600:.1f}\u202fh"
