"""vptlib.operations.predict: new images to answers as in training, stopped and gone on with, in files people open."""

import csv
import fcntl
import io
import os
import re
import signal
import unicodedata
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from models import redraw, small_vit
from pictures import flag, numbered, put, smooth
from PIL import Image

from vptlib.data.files import ImageFiles, LazyImages
from vptlib.data.preparing import ImageSet, Preprocessing, prepare
from vptlib.errors import UserError
from vptlib.evidence.answers import Answers
from vptlib.operations import answer_files, new_images
from vptlib.operations import artefact as artefacts
from vptlib.operations import predict as predicting
from vptlib.operations.artefact import backbone_card, write_artefact
from vptlib.operations.contact_sheet import MOST_TILES, Sheet, Tile, write_sheet
from vptlib.operations.predict import BATCH, predict
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import evaluate

PREPARED = Preprocessing(28, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bicubic")


def stop():
    raise KeyboardInterrupt


class Counted(torch.nn.Module):
    """A small model that counts its batches, and stops before a given one."""

    def __init__(self, classes=3):
        super().__init__()
        self.model = build_method("linear", small_vit(), classes)
        redraw([self.model.head.weight, self.model.head.bias], seed=1, scale=0.3)
        self.batches, self.stops_before, self.stop = 0, 10**9, stop
        self.eval()

    def forward(self, images):
        self.batches += 1
        if self.batches == self.stops_before:
            self.stop()
        return self.model(images)


@dataclass(frozen=True)
class Card:
    title: str = "Cracks"
    class_names: tuple[str, ...] = ("crack", "sound", "scratch")
    preprocessing: Preprocessing = PREPARED
    grey: tuple[float, float] | None = None
    ask: dict | None = None
    backbone: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(fingerprint="ef" * 32))


@dataclass(frozen=True)
class Exported:
    """Stands for an artefact."""

    card: Card = field(default_factory=Card)
    digest: str = "ab" * 32
    answers: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(images=60))
    model: Counted = field(default_factory=Counted)

    def with_card(self, **changes) -> "Exported":
        return replace(self, card=replace(self.card, **changes))


@pytest.fixture
def exported(monkeypatch):
    """A model file of a model that counts; a real one is tried at the end."""
    monkeypatch.setattr(predicting, "load_backbone_of", lambda artefact, name: artefact.model.model.vit)
    monkeypatch.setattr(predicting, "load_model", lambda artefact, vit, fingerprint: artefact.model)
    return Exported()


def table(path):
    """The rows of a file of answers, as pandas reads them."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, encoding="utf-8-sig", keep_default_na=False, dtype={"problem": str})


def quietly(artefact, places, out=None, **options):
    return predict(artefact, places, out, progress=False, **options)


def probabilities(artefact, path, folder):
    """Of the classes for one image; float `C`."""
    out = folder / f"{path.name}.csv"
    quietly(artefact, [path], out)
    return table(out).filter(like="p: ").to_numpy(dtype=float)[0]


def codes(done):
    return [finding.what.code for finding in done.findings]


def value(done, code):
    return next(finding.what.values for finding in done.findings if finding.what.code == code)


# ---- the same as in training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("aspect", ["squash", "crop", "pad"])
def test_images_are_prepared_bit_for_bit_as_in_training(exported, tmp_path, own_cache, aspect):
    prepared = replace(PREPARED, aspect=aspect)
    oblong = [put(tmp_path / f"{k}.jpg", smooth(k, 400).resize((400, 150 + k)), quality=95) for k in range(3)]
    paths = [*oblong, *numbered(tmp_path / "small", 3, draw=smooth)]
    images = LazyImages(ImageFiles(paths), np.arange(6), np.zeros(6, np.int64))
    wanted = evaluate(exported.model, prepare(images, prepared), batch_size=6).probabilities
    quietly(exported.with_card(preprocessing=prepared), paths, tmp_path / "answers.parquet")
    found = table(tmp_path / "answers.parquet").filter(like="p: ").to_numpy()
    np.testing.assert_array_equal(found, wanted.astype(float).round(6))
    assert len({tuple(row) for row in found.tolist()}) == 6  # the model does not answer all alike


def test_deep_greys_are_shown_in_the_range_of_the_training(exported, tmp_path, own_cache):
    values = np.random.default_rng(0).integers(1000, 4000, (30, 30)).astype(np.uint16)
    path = put(tmp_path / "deep.png", Image.fromarray(values))
    images = ImageFiles([path]).with_grey((900.0, 4200.0))
    listed = LazyImages(images, np.arange(1), np.zeros(1, np.int64))
    wanted = evaluate(exported.model, prepare(listed, PREPARED), batch_size=1).probabilities[0]
    done = quietly(exported.with_card(grey=(900.0, 4200.0)), [path])
    np.testing.assert_allclose(done.first[0].probabilities, wanted, atol=1e-6)
    assert done.first[0].problem == ""
    other = quietly(exported.with_card(grey=(0.0, 65535.0)), [path]).first[0]
    assert np.abs(other.probabilities - wanted).max() > 1e-3


def test_the_decoded_images_are_not_kept_on_disk(exported, tmp_path, own_cache):
    quietly(exported, numbered(tmp_path / "in", 2), tmp_path / "answers.csv")
    assert not own_cache.exists()


def test_an_answer_does_not_depend_on_the_other_images(exported, tmp_path):
    paths = numbered(tmp_path / "in", 2 * BATCH + 3, draw=smooth)
    quietly(exported, [tmp_path / "in"], tmp_path / "all.parquet")
    together = table(tmp_path / "all.parquet").set_index("file").filter(like="p: ")
    for path in (paths[0], paths[BATCH], paths[-1]):
        alone = quietly(exported, [path]).first[0].probabilities
        np.testing.assert_allclose(together.loc[str(path)], alone, atol=2e-6)


def rotated(picture, folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    return put(folder / "turned.png", picture.transpose(Image.Transpose.ROTATE_90), exif=exif)


def animated(picture, folder):
    more = [Image.new("RGB", picture.size, "red")]
    return put(folder / "moving.webp", picture, save_all=True, append_images=more, lossless=True, duration=100)


def transparent(picture, folder):
    return put(folder / "clear.png", Image.merge("RGBA", [*picture.split(), Image.new("L", picture.size, 255)]))


def cmyk(picture, folder):
    return put(folder / "cmyk.tif", picture.convert("CMYK"))


@pytest.mark.parametrize("copied", [rotated, animated, transparent, cmyk])
def test_a_copy_of_another_kind_has_the_same_answer(exported, tmp_path, copied):
    picture = smooth(5).crop((0, 0, 40, 30))
    wanted = probabilities(exported, put(tmp_path / "plain.png", picture), tmp_path)
    other = probabilities(exported, put(tmp_path / "other.png", smooth(6)), tmp_path)
    found = probabilities(exported, copied(picture, tmp_path), tmp_path)
    assert np.abs(found - wanted).max() < 1e-3 < np.abs(other - wanted).max()


# ---- which images -------------------------------------------------------------------------------------------------


def test_folders_are_searched_in_natural_order_and_paths_stay_as_given(exported, tmp_path, monkeypatch):
    for name in ("2.png", "10.png", "1.PNG", "b/a.png", "B/c.png", "a10/x.png", "a9/x.png"):
        put(tmp_path / "in" / name)
    put(tmp_path / "first.png")
    monkeypatch.chdir(tmp_path)
    files = [row.file for row in quietly(exported, ["first.png", "in"]).first]
    wanted = ["1.PNG", "2.png", "10.png", "a9/x.png", "a10/x.png", "b/a.png", "B/c.png"]
    assert files == ["first.png", *(f"in/{name}" for name in wanted)]
    assert quietly(exported, ["../" + tmp_path.name + "/in/2.png"]).first[0].file == f"../{tmp_path.name}/in/2.png"


def test_a_file_that_is_named_in_several_ways_counts_once(exported, tmp_path, monkeypatch):
    paths = numbered(tmp_path / "in", 2)
    (tmp_path / "way").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    done = quietly(exported, ["in/1.png", tmp_path / "in", "way/0.png", "way/../in/0.png", *paths])
    assert [row.file for row in done.first] == ["in/1.png", str(paths[0])]
    assert value(done, "images_named_again") == {"files": 5}


def test_the_same_name_in_two_folders_is_two_images(exported, tmp_path):
    put(tmp_path / "a" / "1.png", smooth(1))
    put(tmp_path / "b" / "1.png", smooth(2))
    first, second = quietly(exported, [tmp_path]).first
    assert (first.file, second.file) == (f"{tmp_path}/a/1.png", f"{tmp_path}/b/1.png")
    assert not np.array_equal(first.probabilities, second.probabilities)


def test_what_is_no_image_is_reported_but_not_what_systems_and_we_leave(exported, tmp_path):
    numbered(tmp_path, 1)
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "list.xlsx", "photo.cr2", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    quietly(exported, [tmp_path], tmp_path / "answers.csv")
    done = quietly(exported, [tmp_path], tmp_path / "answers.csv")
    assert done.images == 1
    assert value(done, "no_images_passed_over") == {"files": 2, "endings": {".txt": 1, ".xlsx": 1}}
    assert value(done, "files_passed_over")["ending"] == ".cr2"
    assert value(done, "hidden_passed_over")["images"] == 1


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["empty"], "no images at empty: name image files"),
        (["notes"], "no images at notes"),
        ([], "no images at no place"),
        (["empty/none.png"], "no image and no folder at empty/none.png: correct the path"),
        (["a\0b.png"], "no image and no folder at a.b.png"),
        (["pipe"], "no image and no folder at pipe"),
    ],
)
def test_no_images_is_a_sentence(exported, tmp_path, monkeypatch, places, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    put(Path("notes/1.png")).rename("notes/1.txt")
    os.mkfifo("pipe")
    with pytest.raises(UserError, match=message):
        quietly(exported, places, "new/answers.csv")
    assert not Path("new").exists()


def test_photos_that_need_a_package_name_it(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(new_images, "suffixes", lambda: (".png",))
    path = put(tmp_path / "a.png").rename(tmp_path / "a.heic")
    with pytest.raises(UserError, match=r"a\.heic needs one more package: pip install pillow-heif"):
        quietly(exported, [path])
    with pytest.raises(UserError, match="can be read here: pip install pillow-heif"):
        new_images.found_at([tmp_path])


# ---- files that cannot be read ------------------------------------------------------------------------------------


def cut(path):
    put(path, smooth(1, 200))
    os.truncate(path, path.stat().st_size // 2)


def bomb(path):
    """A PNG of 60,000 × 60,000 pixels in a few bytes of header."""
    whole = bytearray(put(path).read_bytes())
    whole[16:24] = (60_000).to_bytes(4, "big") * 2
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    path.write_bytes(whole)


BAD = {
    "cut.png": cut,
    "empty.png": lambda path: path.touch(),
    "text.png": lambda path: path.write_text("a note"),
    "bomb.png": bomb,
    "gone.png": lambda path: path.symlink_to("nowhere.png"),
    "pipe.png": lambda path: (os.mkfifo(path.with_suffix("")), path.symlink_to(path.with_suffix(""))),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_stops_with_its_name_and_the_option_and_what_is_done_is_kept(exported, tmp_path, name):
    numbered(tmp_path / "in", BATCH + 4, draw=smooth)
    BAD[name](tmp_path / "in" / name)
    out = tmp_path / "answers.csv"
    with pytest.raises(UserError, match=rf"{name} .*--skip-unreadable .*the same command goes on"):
        quietly(exported, [tmp_path / "in"], out)
    assert not out.exists()
    assert exported.model.batches == 2
    (tmp_path / "in" / name).unlink()
    done = quietly(exported, [tmp_path / "in"], out)
    assert done.answered == BATCH + 4
    assert exported.model.batches == 2  # nothing was left to do


def test_bad_files_become_rows_with_the_reason(exported, tmp_path):
    numbered(tmp_path / "in", 2)
    for name, make in BAD.items():
        make(tmp_path / "in" / name)
    for out in (tmp_path / "answers.csv", tmp_path / "answers.parquet"):
        done = quietly(exported, [tmp_path / "in"], out, skip_unreadable=True)
        rows = table(out).astype(object).fillna("").set_index("file")
        assert (done.images, done.answered, done.unreadable) == (8, 2, 6)
        bad = rows[rows["answer"] == ""]
        assert sorted(Path(file).name for file in bad.index) == sorted(BAD)
        assert all(Path(file).name in problem for file, problem in bad["problem"].items())
        assert set(bad["ask_a_person"]) == {"yes"}
        assert (bad[["probability", "p: crack", "p: sound"]] == "").all(axis=None)
    assert value(done, "unreadable_skipped")["bad"] == 6
    assert "Files without an answer" in done.sheet.read_text()


def test_an_answer_that_is_no_number_is_no_answer(exported, tmp_path):
    redraw([exported.model.model.head.bias], seed=0, scale=float("nan"))
    with pytest.raises(UserError, match=r"answer to .*0\.png is not a number"):
        quietly(exported, numbered(tmp_path, 1))


# ---- greys --------------------------------------------------------------------------------------------------------


def deep(path, low=1000, high=4000, kind=np.uint16):
    values = np.random.default_rng(0).uniform(low, high, (30, 30)).astype(kind)
    return put(path, Image.fromarray(values))


def test_deep_values_are_refused_where_the_training_had_none(exported, tmp_path):
    path = deep(tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png has more than 8 bits.*save it with 8 bits"):
        quietly(exported, [path])
    assert quietly(exported, [path], skip_unreadable=True).unreadable == 1


def test_eight_bits_are_doubtful_where_the_training_had_a_range_of_its_own(exported, tmp_path):
    path, ask = put(tmp_path / "a.png"), {"threshold": 0.0}
    done = quietly(exported.with_card(grey=(1000.0, 4000.0), ask=ask), [path])
    assert "8 bits a value" in done.first[0].problem
    assert done.first[0].ask_a_person == "yes"
    assert value(done, "new_images_of_8_bits") == {"images": 1, "first": str(path), "low": 1000, "high": 4000}
    usual = quietly(exported.with_card(grey=(0.0, 4095.0), ask=ask), [path])
    assert (usual.first[0].problem, usual.first[0].ask_a_person) == ("", "no")


@pytest.mark.parametrize(
    ("values", "grey", "fits"),
    [
        ((1000, 4000, np.uint16), (900.0, 4200.0), True),
        ((0, 1, np.float32), (0.0, 1.0), True),
        ((0, 1, np.float32), (0.0, 65535.0), False),  # all black
        ((1000, 4000, np.uint16), (0.0, 1.0), False),  # all white
        ((30000, 60000, np.uint16), (1000.0, 4000.0), False),
        ((0, 60000, np.uint16), (1000.0, 20000.0), False),  # two thirds lie outside
        ((0, 60000, np.uint16), (1000.0, 40000.0), True),  # one third
    ],
)
def test_values_outside_the_range_of_the_training_are_doubtful(exported, tmp_path, values, grey, fits):
    low, high, kind = values
    path = deep(tmp_path / ("a.tif" if kind is np.float32 else "a.png"), low, high, kind)
    done = quietly(exported.with_card(grey=grey, ask={"threshold": 0.0}), [path])
    assert (done.first[0].ask_a_person, "new_greys_do_not_fit" in codes(done)) == (
        ("no", False) if fits else ("yes", True)
    )


# ---- stopped, and gone on with ------------------------------------------------------------------------------------


def side_of(out):
    return out.with_name(f"{out.name}.unfinished")


@contextmanager
def stopped_before(model, batch):
    model.batches, model.stops_before = 0, batch
    with pytest.raises(KeyboardInterrupt):
        yield
    model.batches, model.stops_before = 0, 10**9


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_stopped_command_goes_on_and_gives_the_same_bytes(exported, tmp_path, ending):
    numbered(tmp_path / "in", 3 * BATCH + 5, draw=smooth)
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"answers.{ending}"
    quietly(exported, [tmp_path / "in"], whole)
    with stopped_before(exported.model, 3):
        quietly(exported, [tmp_path / "in"], out)
    assert not out.exists()
    with side_of(out).open("r+b") as file:  # the last record was being written
        file.truncate(side_of(out).stat().st_size - 7)
    quietly(exported, [tmp_path / "in"], out)
    assert exported.model.batches == 3  # one of them for the record that was cut
    assert out.read_bytes() == whole.read_bytes()
    assert out.with_suffix(".html").read_bytes() == whole.with_suffix(".html").read_bytes()
    assert not side_of(out).exists()


def test_a_killed_process_leaves_what_it_has_done(exported, tmp_path):
    numbered(tmp_path / "in", 3 * BATCH, draw=smooth)
    out = tmp_path / "answers.csv"
    child = os.fork()
    if not child:
        exported.model.stops_before, exported.model.stop = 3, lambda: os.kill(os.getpid(), signal.SIGKILL)
        quietly(exported, [tmp_path / "in"], out)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    quietly(exported, [tmp_path / "in"], out)
    assert exported.model.batches == 1
    assert len(table(out)) == 3 * BATCH


def damage(out):
    raw = bytearray(side_of(out).read_bytes())
    raw[len(raw) // 2] ^= 1
    side_of(out).write_bytes(raw)


def change_image(out):
    """Another picture in a file of the same size and the same time of change."""
    path = out.parent / "in" / "1.png"
    about, put_back = path.stat(), path.read_bytes()
    path.write_bytes(put_back)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize(("change", "again"), [(damage, 1), (change_image, 1), (lambda out: None, 0)])
def test_what_is_damaged_or_changed_is_answered_again(exported, tmp_path, change, again):
    numbered(tmp_path / "in", 2 * BATCH, draw=smooth)
    out = tmp_path / "answers.csv"
    with stopped_before(exported.model, 2):
        quietly(exported, [tmp_path / "in"], out)
    change(out)
    quietly(exported, [tmp_path / "in"], out)
    assert exported.model.batches == 1 + again
    assert len(table(out)) == 2 * BATCH


def test_another_model_file_answers_all_again(exported, tmp_path):
    numbered(tmp_path / "in", 2 * BATCH, draw=smooth)
    out = tmp_path / "answers.csv"
    with stopped_before(exported.model, 2):
        quietly(exported, [tmp_path / "in"], out)
    quietly(replace(exported, digest="cd" * 32), [tmp_path / "in"], out)
    assert exported.model.batches == 2


def test_answers_that_cannot_be_written_at_the_end_are_kept(exported, tmp_path, monkeypatch):
    numbered(tmp_path / "in", 3)
    out = tmp_path / "answers.csv"

    @contextmanager
    def full(path):
        raise OSError(28, "No space left on device")
        yield path

    with monkeypatch.context() as change:
        change.setattr(answer_files, "whole_file", full)
        with pytest.raises(UserError, match=r"answers\.csv cannot be written .*No space left.*goes on"):
            quietly(exported, [tmp_path / "in"], out)
    quietly(exported, [tmp_path / "in"], out)
    assert exported.model.batches == 1
    assert len(table(out)) == 3


# ---- where the answers go -----------------------------------------------------------------------------------------


def test_an_earlier_file_of_answers_is_replaced(exported, tmp_path):
    out = tmp_path / "new" / "folder" / "answers.csv"
    quietly(exported, numbered(tmp_path / "in", 3), out)
    done = quietly(exported, [tmp_path / "in" / "1.png"], out)
    assert done.path == out
    assert table(out)["file"].tolist() == [str(tmp_path / "in" / "1.png")]
    assert sorted(path.name for path in out.parent.iterdir()) == ["answers.csv", "answers.html"]


def folder_at(path):
    path.mkdir()


def own_table(path):
    path.write_text("file;answer\n1.png;crack\n")


def own_page(path):
    path.with_suffix(".html").write_text("<p>mine</p>")


def own_side(path):
    side_of(path).write_text("mine")


def text_above(path):
    path.parent.rmdir()
    path.parent.write_text("mine")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("there", "message"),
    [
        (folder_at, "is a folder: name a file"),
        (own_table, r"answers\.\w+ is there already, and .* has not written it"),
        (own_page, r"answers\.html is there already"),
        (own_side, r"answers\.\w+\.unfinished is there already"),
        (text_above, "cannot be written"),
    ],
)
def test_nothing_of_others_is_replaced(exported, tmp_path, ending, there, message):
    out = tmp_path / "out" / f"answers.{ending}"
    out.parent.mkdir()
    there(out)
    with pytest.raises(UserError, match=message):
        quietly(exported, numbered(tmp_path / "in", 1), out)
    assert exported.model.batches == 0
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"vptlib" in path.read_bytes()] == []


@pytest.mark.parametrize("name", ["answers.txt", "answers", "a\0b.csv", "x" * 300 + ".csv"])
def test_a_name_that_cannot_be_is_refused_before_the_work(exported, tmp_path, name):
    with pytest.raises(UserError, match=r"--out is|cannot be written"):
        quietly(exported, numbered(tmp_path / "in", 1), tmp_path / name)
    assert exported.model.batches == 0


def test_a_full_disk_is_seen_before_the_work(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(answer_files, "free_bytes", lambda folder: 1000)
    with pytest.raises(UserError, match=r"needs some 4.*but 1.*are free"):
        quietly(exported, numbered(tmp_path / "in", 1), tmp_path / "answers.csv")


def test_two_commands_do_not_write_one_file(exported, tmp_path):
    out = tmp_path / "answers.csv"
    with side_of(out).open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another `vpt predict` is writing"):
            quietly(exported, numbered(tmp_path / "in", 1), out)


def test_without_a_file_nothing_is_written(exported, tmp_path, monkeypatch):
    numbered(tmp_path / "in", 30)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = quietly(exported, [tmp_path / "in"])
    assert (done.images, done.answered, len(done.first), done.path, done.sheet) == (30, 30, 20, None, None)
    assert sum(done.counts.values()) == 30
    assert list(Path().iterdir()) == []


def test_the_bar_is_on_stderr(exported, tmp_path, capsys):
    predict(exported, numbered(tmp_path, 2))
    shown = capsys.readouterr()
    assert shown.out == "" and "answering images" in shown.err


# ---- the rows -----------------------------------------------------------------------------------------------------

NAMES = [
    "=cmd|' C calc'!A0.png",
    "-1.png",
    "@x.png",
    "a,b.png",
    'say "hi".png',
    "line\nbreak.png",
    "a;=1+1.png",
    unicodedata.normalize("NFC", "がぎ.png"),
    unicodedata.normalize("NFD", "がぎ.png"),
    "亀裂 é.png",
    os.fsdecode(b"\xff\xfe.png"),
    "＝full.png",
]


def test_every_name_is_one_row_that_leads_to_its_file(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        put(Path("p.png"), smooth(number)).rename(name)
    quietly(exported, NAMES, "answers.csv")
    raw = Path("answers.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf") and raw.endswith(b"\r\n")
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert {len(row) for row in rows} == {8}
    files = [row[0] for row in rows[1:]]
    text = NAMES[10].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    assert [os.path.normpath(file) for file in files] == [*NAMES[:10], text, NAMES[11]]
    assert all(Path(file).exists() for file in files if file != text)
    assert not any(re.match(r"\s*[=+\-@＝]", file) for file in files)
    quietly(exported, NAMES, "answers.parquet")
    assert table(Path("answers.parquet"))["file"].tolist() == [*NAMES[:10], text, NAMES[11]]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@sum", "'@sum"),
        (" +x", " '+x"),
        ("a;=1", "a;'=1"),
        ("a\n\t-x", "a\n\t'-x"),
        ("＝1", "'＝1"),
        ("-5", "-5"),
        ("+1.5", "+1.5"),
        ("non-crack = x", "non-crack = x"),
    ],
)
def test_a_class_is_no_formula(exported, tmp_path, name, shown):
    names = (name, "sound", "scratch")
    redraw([exported.model.model.head.weight], seed=0, scale=0)
    redraw([exported.model.model.head.bias], seed=0, scale=0)
    out = tmp_path / "answers.csv"
    done = quietly(exported.with_card(class_names=names), numbered(tmp_path / "in", 1), out)
    rows = list(csv.reader(io.StringIO(out.read_text("utf-8-sig"), newline="")))
    assert rows[1][1] == shown
    assert done.first[0].answer == name
    assert ("formulas_marked" in codes(done)) == (name != shown)


def test_the_columns_are_those_of_the_classes(exported, tmp_path):
    quietly(exported, numbered(tmp_path / "in", 5, draw=smooth), tmp_path / "answers.csv")
    rows = table(tmp_path / "answers.csv")
    names = ["crack", "sound", "scratch"]
    assert list(rows) == ["file", "answer", "probability", "ask_a_person", *(f"p: {n}" for n in names), "problem"]
    numbers = rows.filter(like="p: ").to_numpy()
    np.testing.assert_allclose(numbers.sum(axis=1), 1, atol=2e-6)
    np.testing.assert_array_equal(rows["probability"], numbers.max(axis=1))
    assert rows["answer"].tolist() == [names[k] for k in numbers.argmax(axis=1)]


# ---- what to check ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_images_are_drawn_at_random_for_a_person_to_check(exported, tmp_path, ending):
    paths = [*numbered(tmp_path / "in", 30, draw=smooth), tmp_path / "bad.png"]
    paths[-1].write_bytes(b"no image")
    out = tmp_path / f"answers{ending}"
    quietly(exported, paths, out, skip_unreadable=True, check=10)
    rows = table(out).astype(object).fillna("")
    assert list(rows)[-3:] == ["problem", "drawn", "truth"]
    assert (rows["drawn"] == "yes").sum() == 10 and set(rows["drawn"]) == {"yes", ""}
    assert (rows["truth"] == "").all() and rows["drawn"].iloc[-1] == ""  # what has no answer cannot be checked
    first = out.read_bytes()
    quietly(exported, paths, out, skip_unreadable=True, check=10)
    assert out.read_bytes() == first
    quietly(exported, paths[:29], out, check=10)
    assert table(out)["drawn"].fillna("").tolist() != rows["drawn"].tolist()[:29]
    quietly(exported, paths[:5], out, check=10)
    assert (table(out)["drawn"] == "yes").all()


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_in_which_a_person_has_written_is_not_replaced(exported, tmp_path, ending):
    paths, out = numbered(tmp_path / "in", 3, draw=smooth), tmp_path / f"answers{ending}"
    quietly(exported, paths, out, check=3)
    if ending == ".csv":
        text = out.read_bytes().decode()
        out.write_bytes(text.replace('"yes",""', '"yes","crack"', 1).encode())
    else:
        rows = pd.read_parquet(out)
        rows.loc[1, "truth"] = "crack"
        rows.to_parquet(out, index=False)
    before = out.read_bytes()
    with pytest.raises(UserError, match="is there already"):
        quietly(exported, paths, out)
    assert out.read_bytes() == before


# ---- whom to ask --------------------------------------------------------------------------------------------------


def test_a_person_is_asked_below_the_threshold_and_not_at_it(exported, tmp_path):
    paths = numbered(tmp_path / "in", 9, draw=smooth)
    sure = sorted(row.probability for row in quietly(exported, paths).first)
    done = quietly(exported.with_card(ask={"wanted": 0.95, "threshold": sure[4]}), paths)
    assert [row.ask_a_person for row in done.first] == [
        "yes" if row.probability < sure[4] else "no" for row in done.first
    ]
    assert done.for_person == 4
    assert value(done, "person_asked")["asked"] == 4


@pytest.mark.parametrize("ask", [None, {"wanted": 0.99, "threshold": None, "needed": 496}, {"threshold": float("inf")}])
def test_without_a_threshold_it_is_not_known_whom_to_ask(exported, tmp_path, ask):
    done = quietly(exported.with_card(ask=ask), numbered(tmp_path / "in", 2))
    assert {row.ask_a_person for row in done.first} == {"unknown"}
    assert done.for_person is None
    wanted = {name: (ask or {}).get(name) for name in ("wanted", "needed")}
    assert value(done, "person_unknown") == {"images": 60, **wanted}


# ---- the contact sheet --------------------------------------------------------------------------------------------


def test_the_page_begins_with_those_for_a_person(exported, tmp_path):
    paths = numbered(tmp_path / "in", 9, draw=smooth)
    rows = quietly(exported, paths).first
    threshold = sorted(row.probability for row in rows)[4]
    done = quietly(
        exported.with_card(ask={"threshold": threshold}), paths, tmp_path / "a.csv", sentence=lambda s: s.code
    )
    page = done.sheet.read_text()
    order = re.findall(r'alt="\S*/(\d)\.png, answered', page)
    wanted = sorted(range(9), key=lambda k: rows[k].probability)
    assert order == [str(k) for k in wanted]
    assert page.count("ask a person") == 4
    assert "<li>person_asked</li>" in page


def test_the_page_fetches_nothing_and_runs_nothing(exported, tmp_path):
    name, title = 'x" onerror="alert(1)><script>.png', "<script>alert(1)</script>"
    path = put(tmp_path / "p.png").rename(tmp_path / name)
    evil = exported.with_card(class_names=("<b>", "<img src=http://x>", "</style>"), title=title)
    page = quietly(evil, [path], tmp_path / "a.csv", sentence=lambda s: f"<i>{s.code}").sheet.read_text()
    assert "<script" not in page and "<b>" not in page and "<i>" not in page and "<img src=http" not in page
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,)', page) == []
    assert page.count("</style>") == 1


def test_the_page_stays_small(tmp_path):
    draw = np.random.default_rng(0)
    tiles = [
        Tile("x" * 4000, "y" * 500, 0.5, True, "z" * 4000, draw.integers(0, 256, (518, 518, 3), dtype=np.uint8))
        for _ in range(MOST_TILES + 20)
    ]
    counts = {f"class {k} {'n' * 400}": k for k in range(5000)}
    unread = [("f" * 4000, "p" * 4000)] * 5000
    sheet = Sheet("t" * 4000, 10**6, 10**6, counts, tiles, unread, ["s" * 10**5])
    write_sheet(sheet, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert len(page.encode()) < 3_000_000
    assert page.count("data:image/jpeg") > 150
    assert page.count('class="person"') == MOST_TILES


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_can_be_read_on_a_phone_and_in_the_dark(exported, tmp_path, browser, width):
    paths = [*numbered(tmp_path / "in", 8, draw=smooth), put(tmp_path / ("long" * 50 + ".png"), flag())]
    paths[0].write_bytes(b"")
    done = quietly(exported.with_card(ask={"threshold": 0.6}), paths, tmp_path / "a.csv", skip_unreadable=True)
    colours = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        page = context.new_page()
        page.goto(done.sheet.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth && i.alt)")
        colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        context.close()
    assert colours["light"] != colours["dark"]


# ---- a real model file --------------------------------------------------------------------------------------------


def test_a_model_file_answers_as_the_model_that_was_exported(tmp_path, monkeypatch):
    vit = small_vit()
    model = build_method("vpt-deep", vit, 3, num_prompts=2)
    redraw([p for p in model.parameters() if p.requires_grad], seed=1, scale=0.5)
    names, about = Card().class_names, backbone_card(vit, "small", "drawn", "none")
    card = artefacts.Card("Cracks", "vpt-deep", {"num_prompts": 2}, names, preprocessing(vit), about)
    answers = Answers(np.zeros((1, 6), np.int64), np.zeros(6, np.int64), names)
    exported = write_artefact(tmp_path / "cracks.vpt", model, card, answers)
    monkeypatch.setattr(predicting, "load_backbone_of", lambda artefact, name: small_vit())
    paths = numbered(tmp_path / "in", 5, draw=smooth)
    quietly(exported, [tmp_path / "in"], tmp_path / "answers.parquet")
    images = ImageSet(np.stack([np.asarray(smooth(k)) for k in range(5)]), np.zeros(5, np.int64))
    wanted = evaluate(model, prepare(images, card.preprocessing)).probabilities
    rows = table(tmp_path / "answers.parquet")
    assert rows["file"].tolist() == list(map(str, paths))
    np.testing.assert_allclose(rows.filter(like="p: "), wanted, atol=2e-3)  # Pillow rounds to 8 bits after it scales
    assert set(rows["ask_a_person"]) == {"unknown"}
