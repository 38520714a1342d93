"""From a folder of images to answers: `vpt predict` on the very files of the test answers as the study did."""

import csv

import numpy as np
import pytest
from PIL import Image
from studies import study
from test_export import report_of

from vptlib.data.tasks import load_task
from vptlib.operations.export import export, read_report
from vptlib.operations.predict import predict
from vptlib.study.published_rules import DONE


def draw(folder, kind, count=24):
    """Images of three classes whose place of a bright bar is the class; wide ones and high ones."""
    random = np.random.default_rng(3)
    for label, name in enumerate(("上", "middle", "low")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            height, width = (40, 64) if number % 2 else (64, 40)
            values = random.normal(0.3, 0.12, (height, width))
            start = int(height * (0.05 + 0.33 * label))
            values[start : start + height // 5] += random.uniform(0.1, 0.6)
            save(values.clip(0, 1), folder / name / f"{name}{number}", kind)
    return folder


def save(values, path, kind):
    if kind == "12 bits in 16":
        Image.fromarray((values * 4095).astype(np.uint16)).save(path.with_suffix(".png"))
    elif kind == "own range of 16 bits":
        Image.fromarray((20_000 + values * 9_000).astype(np.uint16)).save(path.with_suffix(".tif"))
    elif kind == "turned by EXIF":
        image = Image.fromarray((values * 255).astype(np.uint8)).convert("RGB")
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), quality=95, exif=exif)
    else:
        Image.fromarray((values * 255).astype(np.uint8)).convert("RGB").save(path.with_suffix(".jpg"), quality=95)


@pytest.mark.parametrize(
    ("kind", "aspect"),
    [
        ("8 bits", "squash"),
        ("8 bits", "crop"),
        ("8 bits", "pad"),
        ("12 bits in 16", "squash"),
        ("own range of 16 bits", "crop"),
        ("turned by EXIF", "pad"),
    ],
)
def test_the_files_of_the_test_get_the_answers_and_probabilities_of_the_study(own_store, tmp_path, kind, aspect):
    place = draw(tmp_path / "own images", kind)
    made = study(
        task=f"folder:{place}", methods=("linear", "vpt-deep", "full"), sizes=(30,), seeds=(0, 1), test_images=18,
        rules=DONE, steps=4, candidates=1, aspect=aspect, image_size=28, precision="fp32",
    )  # fmt: skip
    made.run(progress=False)
    report = read_report(report_of(tmp_path / "report", made, asked={"limits": {}}))
    task = load_task(made.task)
    rows = task.test.rows[made.test_items()]
    files = [task.test.source.paths[row] for row in rows]
    for method in ("linear", "vpt-deep"):
        artefact = export(report, tmp_path / "m.vpt", method, seed=1)
        assert artefact.card.results["same_answers_as_in_study"] == 1
        predict(artefact, files, tmp_path / f"{method}.csv", progress=False)
        with open(tmp_path / f"{method}.csv", encoding="utf-8-sig", newline="") as file:
            answered = list(csv.DictReader(file))
        wanted = made.probabilities(method, seed=1)
        given = np.array([[float(row[f"p: {name}"]) for name in task.class_names] for row in answered])
        assert np.abs(given - wanted).max() < 2e-3
        assert [row["answer"] for row in answered] == [task.class_names[k] for k in wanted.argmax(axis=1)]
        assert not any(row["problem"] for row in answered)
    assert len({tuple(row.round(3)) for row in given}) > 10  # answers that do not depend on the image prove nothing
