"""Prompts in production with answers and checks, for tests of watching: a small registry, without training."""

from datetime import UTC, datetime, timedelta
from zlib import crc32

import numpy as np
from exported import CLASSES, answers_for, exported

from vptlib.operations.artefact import read_artefact
from vptlib.operations.deposit import withdraw
from vptlib.operations.records import AnswerRecords, Checked, Given
from vptlib.operations.registry import PromptRegistry

LIMITS = {"accuracy": {"at_least": 0.8}, "miss_rate": {"class": ["scratch", "pit"], "at_most": 0.1}}
ASK = {"wanted": 0.95, "needed": 60, "threshold": 0.6}
DAYS = 30
LATER = timedelta(days=DAYS)


def in_production(folder, name, number=0, limits=None, right=190, n=200, data=None, force=False, **changes):
    """A prompt with one version that answers; gives the registry."""
    registry, path = PromptRegistry(), folder / f"{name}-{number}.vpt"
    about = {"task": name, "fingerprint": "f" * 64, "test_images": 200} | (data or {})
    exported(
        path,
        seed=number,
        answers=answers_for(right, 200, seed=number),
        ask=ASK,
        limits=LIMITS if limits is None else limits,
        recipe={"n": n, "seed": 0},
        data=about,
        lineage={"run_id": "r1", "report": "a" * 64, "trained": "2026-01-01T00:00:00+00:00"},
        **changes,
    )
    version = registry.register(path, name, "aki")
    if force:
        registry.promote(
            name, version.number, "ben", gates=lambda *_: [Failed()], force=True, reason="line stands still"
        )
    else:
        registry.promote(name, version.number, "ben", gates=lambda *_: [])
    return registry


class Failed:
    """A gate that does not hold."""

    passed = False

    def plain(self):
        return {"kind": "accuracy", "passed": False, "finding": {"code": "gate_no_limits"}}


def answered(name, records, count=400, drawn=0.25, right=0.95, checked=1.0, shift=0.0, seed=0, digest=None):
    """Answers over 30 days, of images like those of the test; those that were drawn are checked.

    Args:
        drawn: share of them that is drawn.
        right: share of the checked ones that people find right.
        checked: share of the drawn ones that people look at, the earlier ones first.
        shift: of the features along their main direction.
    """
    registry, random = PromptRegistry(), np.random.default_rng(seed)
    version = registry.version(name)
    artefact = read_artefact(withdraw(version))
    since = registry.as_of(name, datetime.now(UTC)).entry.at
    answers, rows = artefact.answers, random.integers(0, artefact.answers.images, count)
    moments = [since + timedelta(days=DAYS * (number + 1) / (count + 1)) for number in range(count)]
    is_drawn = random.random(count) < drawn
    given, said = [], []
    for number, (row, at) in enumerate(zip(rows, moments, strict=True)):
        prediction, probability = int(answers.predictions[0, row]), float(answers.confidence[0, row])
        coordinates = artefact.reference.coordinates[row].copy()
        coordinates[0] += shift
        id, asked = f"{crc32(name.encode()) ^ seed:08x}{number:024x}", "no" if probability >= 0.6 else "yes"
        about = (name, version.number, digest or version.digest, CLASSES[prediction], probability, asked)
        given.append(Given(id, at, *about, bool(is_drawn[number]), coordinates))
        if is_drawn[number] and number < checked * count:
            truth = prediction if random.random() < right else (prediction + 1) % len(CLASSES)
            said.append(Checked(id, CLASSES[truth], "chi", at + timedelta(hours=2)))
    records.take(given, said)


def example(folder):
    """Eight prompts in different states; gives the registry and the record of answers."""
    records = AnswerRecords()
    for name in ("cells", "welds", "solar", "bolts", "tiles", "seals", "nuts & bolts"):
        in_production(
            folder,
            name,
            n=200 if name != "bolts" else 60,
            right=195,
            data={"decide_again_at": 800} if name == "solar" else {},
        )
    answered("cells", records, 420, drawn=0.4, right=0.98)
    answered("welds", records, 250, drawn=0.4, right=0.55)
    answered("solar", records, 250, drawn=0.4, shift=2.5)
    answered("bolts", records, 250, drawn=0.4)
    answered("nuts & bolts", records, 120, checked=0.3)
    answered("seals", records, 20)
    registry = PromptRegistry()
    stored = registry.fetch("seals")
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:-100])
    exported(folder / "caps.vpt", seed=9)
    registry.register(folder / "caps.vpt", "caps", "aki")
    records.add([Given("e" * 32, datetime.now(UTC), "loose", None, "9" * 64, "good", 0.9, "no")])
    return registry, records
