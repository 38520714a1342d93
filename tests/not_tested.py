"""The last line of `make test`: which tests were left out on this machine, and why.

python tests/not_tested.py JUNIT_FILE ...
"""

import sys
import xml.etree.ElementTree as xml
from collections import Counter
from pathlib import Path

from vptlib.wording import many


def sentence(files: list[Path]) -> str:
    """One line about all tests that pytest reports as skipped in these files, as its `--junitxml` writes them."""
    reasons = Counter(
        skip.get("message", "no reason given")
        for file in files
        for skip in xml.parse(file).iter("skipped")
        if skip.get("type") == "pytest.skip"
    )
    if not reasons:
        return "Everything was tested."
    parts = [f"{many(count, 'test')} ({reason})" for reason, count in reasons.most_common()]
    return f"Not tested here: {', '.join(parts)}."


if __name__ == "__main__":
    print(sentence([Path(name) for name in sys.argv[1:]]))
