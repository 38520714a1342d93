"""What has been tried and how it ended: a line of JSON a case, so that a soak that was stopped goes on."""

import json
import random
from pathlib import Path
from typing import Any


class Ledger:
    """The results of a soak, in files of one folder: `<part>.jsonl`, and `faults/<part>-<number>.json`.

    Attributes:
        folder: where they are; made at the first result.
        seed: of all cases.
    """

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed

    def random(self, part: str, number: int) -> random.Random:
        """What draws one case; the same for every call with the same seed."""
        return random.Random(f"{self.seed} {part} {number}")

    def rows(self, part: str) -> list[dict[str, Any]]:
        """The results of a part so far, of this seed; a line that a kill has cut short is left out."""
        file = self.folder / f"{part}.jsonl"
        found = {}
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row["seed"] == self.seed:
                found[row["number"]] = row
        return [found[number] for number in sorted(found)]

    def missing(self, part: str, count: int) -> list[int]:
        """The numbers of the cases that have no result yet."""
        done = {row["number"] for row in self.rows(part)}
        return [number for number in range(count) if number not in done]

    def forget(self, part: str) -> None:
        """Remove the results and the faults of a part."""
        for file in (self.folder / f"{part}.jsonl", *self.folder.glob(f"faults/{part}-*.json")):
            file.unlink(missing_ok=True)

    def add(self, part: str, number: int, **row: Any) -> None:
        """Keep the result of a case."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"seed": self.seed, "number": number, **row})
        with (self.folder / f"{part}.jsonl").open("a") as file:
            file.write(f"{line}\n")

    def add_fault(self, part: str, number: int, **about: Any) -> Path:
        """Keep a case that failed, to be looked at and repeated."""
        file = self.folder / "faults" / f"{part}-{number}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        about = {"part": part, "number": number, "seed": self.seed, **about}
        file.write_text(json.dumps(about, indent=1, ensure_ascii=True, default=repr) + "\n")
        return file
