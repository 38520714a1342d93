"""vptlib.operations.service.desk: every image has the answer of one whole version, whatever changes meanwhile."""

import asyncio
import contextlib
import fcntl
import gc
import io
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from chains import rewrite, text_of
from exported import CLASSES, answers_for, card_for, exported, learned, small_backbone
from pictures import flag, flat, smooth
from PIL import ExifTags, Image
from timm.layers import PatchEmbed

from vptlib.errors import UserError
from vptlib.operations import predict as predicting
from vptlib.operations.artefact import digest_of, load_model, read_artefact, write_artefact
from vptlib.operations.features import logits_and_features
from vptlib.operations.new_images import Seen
from vptlib.operations.predict import predict
from vptlib.operations.registry import PromptRegistry
from vptlib.operations.service import desk as desk_module
from vptlib.operations.service import pictures as pictures_module
from vptlib.operations.service import sources
from vptlib.operations.service.batches import Batches
from vptlib.operations.service.desk import (
    Desk,
    NoAnswer,
    Stopping,
    TooMuchAtOnce,
    UnknownTask,
    UnreadableImage,
)
from vptlib.operations.service.lanes import Lane
from vptlib.tuning.backbones import fingerprint, set_aspect

SECONDS = 20  # after which a test is over


@pytest.fixture(autouse=True)
def small_backbones(monkeypatch, tmp_path):
    """Models stand on small backbones, whose seed is in the card's name; decoders write to a folder of this test."""

    def load(artefact, name=None):
        vit = small_backbone(int(artefact.card.backbone.name.partition(" ")[2] or 0))
        set_aspect(vit, artefact.card.preprocessing.aspect)
        return vit

    monkeypatch.setattr(desk_module, "load_backbone_of", load)
    monkeypatch.setattr(predicting, "load_backbone_of", load)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def file(tmp_path):
    return exported(tmp_path / "cells.vpt").path


@contextlib.contextmanager
def running(*names, patience=SECONDS, **options):
    """A desk that polls only when it is asked to."""
    desk = Desk(names, **{"poll_seconds": 3600} | options)
    desk.start()
    try:
        yield desk
    finally:
        desk.stop(patience)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


BODY = encoded(smooth(1))


def asked(desk, *requests):
    """Answers to requests that are sent at the same time; an exception in the place of one."""

    async def ask():
        return await asyncio.gather(*(desk.answer(*one) for one in requests), return_exceptions=True)

    return asyncio.run(asyncio.wait_for(ask(), SECONDS))


def answer(desk, name="cells", body=BODY):
    (found,) = asked(desk, (name, body))
    if isinstance(found, BaseException):
        raise found
    return found


def alone(path, body=BODY):
    """What `vpt predict` answers: the row of its table."""
    with tempfile.TemporaryDirectory() as place:
        image, out = Path(place) / "image.png", Path(place) / "out.parquet"
        image.write_bytes(body)
        predict(read_artefact(path), [image], out, progress=False)
        return pd.read_parquet(out).iloc[0]


def assert_as_alone(found, path, body=BODY):
    row = alone(path, body)
    problem = row["problem"] if isinstance(row["problem"], str) else ""
    assert (found.answer, found.ask_a_person, found.problem) == (row["answer"], row["ask_a_person"], problem)
    assert found.digest == digest_of(path)
    assert found.probability == pytest.approx(row["probability"], abs=1e-5)
    wanted = {name.removeprefix("p: "): value for name, value in row.items() if name.startswith("p: ")}
    assert found.probabilities == pytest.approx(wanted, abs=1e-5) and tuple(found.probabilities) == CLASSES


# ---- the same answers as `vpt predict` ------------------------------------------------------------------------------


def turned():
    """A JPEG that lies on its side, as its EXIF says."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(flag(120, 50), "JPEG", exif=exif)


def deep(high=65_535):
    """A grey PNG of 16 bits, from 0 to `high`."""
    return encoded(Image.fromarray(np.linspace(0, high, 40 * 30).reshape(30, 40).astype(np.uint16)))


SHAPES = {"square": BODY, "oblong": encoded(flag(120, 50), "JPEG"), "turned": turned()}


def made(path, seed=0, aspect="squash", backbone=0, **about):
    """A model file whose images become square by `aspect`; its backbone has a seed, and a name to find it again."""
    vit = small_backbone(backbone)
    set_aspect(vit, aspect)
    found = fingerprint(vit)
    card = card_for(learned("vpt-deep", vit, seed), found, **about)
    named = replace(card, backbone=replace(card.backbone, name=f"small {backbone}"))
    write_artefact(path, learned("vpt-deep", vit, seed), named, answers_for())
    return path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("aspect", ["squash", "crop", "pad"])
def test_an_answer_is_that_of_predict(tmp_path, aspect, shape):
    path = made(tmp_path / "cells.vpt", aspect=aspect, ask={"threshold": 0.6})
    with running(files=[path]) as desk:
        assert_as_alone(answer(desk, body=SHAPES[shape]), path, SHAPES[shape])


@pytest.mark.parametrize(("body", "doubt"), [(deep(), ""), (deep(30), "do not fit"), (BODY, "8 bits")])
def test_greys_mean_what_they_meant_in_training(tmp_path, body, doubt):
    path = exported(tmp_path / "cells.vpt", grey=(100.0, 4000.0) if "not" in doubt else (0.0, 40_000.0)).path
    with running(files=[path]) as desk:
        found = answer(desk, body=body)
    assert_as_alone(found, path, body)
    assert doubt in found.problem and found.ask_a_person == ("yes" if doubt else "unknown")


METHODS = ("vpt-deep", "vpt-shallow", "linear", "knn", "lora", "full", "side-tuning")


def test_images_of_many_tasks_at_once_have_the_answers_of_each_alone(tmp_path):
    files = {name: exported(tmp_path / f"{name}.vpt", name, seed).path for seed, name in enumerate(METHODS)}
    requests = [(name, encoded(smooth(number))) for number in range(2) for name in METHODS]
    with running(files=list(files.values())) as desk:
        for (name, body), found in zip(requests, asked(desk, *requests), strict=True):
            assert found.task == name
            assert_as_alone(found, files[name], body)


def test_coordinates_are_those_of_the_features_that_the_export_keeps(file):
    artefact = read_artefact(file)
    model = load_model(artefact, small_backbone())
    images = torch.tensor(np.asarray(smooth(1, 28))).permute(2, 0, 1)[None] / 255  # 1 3 28 28
    wanted = artefact.card.preprocessing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (wanted.mean, wanted.std))
    _, features = logits_and_features(model, (images - mean) / std)
    with running(files=[file]) as desk:
        found = answer(desk, body=encoded(smooth(1, 28))).coordinates
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, artefact.reference.coordinates_of(features)[0], rtol=1e-2, atol=1e-3)


def test_a_file_without_a_reference_has_no_coordinates(tmp_path):
    with running(files=[exported(tmp_path / "cells.vpt", watched=False).path]) as desk:
        assert answer(desk).coordinates is None


# ---- what is no image, and what is not known ------------------------------------------------------------------------

HEIC = b"\0\0\0\x18ftypheic" + bytes(100)
BAD = {
    "nothing": (b"", "is empty"),
    "text": (b"this is no image, but some text of a few words", "its format is not one of those"),
    "cut off": (BODY[: len(BODY) // 2], "cannot be read as an image"),
    "a cut JPEG": (SHAPES["oblong"][:400], "cannot be read as an image"),
    "HEIC": (HEIC, "is HEIC"),
    "16 bits": (deep(), "more than 8 bits a value"),
    "a cut TIFF": (encoded(smooth(1), "TIFF")[:200], "cannot be read as an image"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_refused_without_a_path_and_others_are_answered(file, case, monkeypatch):
    monkeypatch.setattr(pictures_module, "suffixes_include_heic", lambda: False)
    body, words = BAD[case]
    with running(files=[file]) as desk:
        good, bad, also_good = asked(desk, ("cells", BODY), ("cells", body), ("cells", BODY))
        assert list(Path(tempfile.gettempdir()).glob("*/[0-9]*")) == []
    assert good.digest == also_good.digest == digest_of(file)
    assert isinstance(bad, UnreadableImage) and words in str(bad) and str(bad).startswith("the image")
    assert tempfile.gettempdir() not in str(bad) and "vptlib" not in str(bad) and "_io" not in str(bad)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(file, monkeypatch):
    loaded = []
    monkeypatch.setattr(pictures_module, "NewImages", lambda *given: loaded.append(given))
    too_large = pytest.raises(UnreadableImage, match=r"has 41 × 30 pixels, more than 1,200: scale it down")
    with running(files=[file], most_pixels=30 * 40) as desk, too_large:
        answer(desk, body=encoded(smooth(1).resize((41, 30))))
    assert not loaded


def test_so_many_pixels_as_may_be_are_answered(file):
    with running(files=[file], most_pixels=40 * 40) as desk:
        assert answer(desk).task == "cells"


def test_an_unknown_task_is_named(file):
    with running(files=[file]) as desk:
        with pytest.raises(UnknownTask, match=r"no task 'celsl' here: did you mean 'cells'\?"):
            answer(desk, "celsl")
        with pytest.raises(UnknownTask, match="there are cells"):
            answer(desk, "wood")


# ---- many at once ---------------------------------------------------------------------------------------------------


class Passes:
    """Notes the number of images of each pass. The passes wait until they may go on, and then call `before`."""

    def __init__(self, monkeypatch):
        self.sizes, self.queued = [], 0
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.before = lambda pixels: None
        forward, put = PatchEmbed.forward, Batches.put

        def noted(module, pixels):
            if threading.current_thread().name == "vpt-batches":  # not the canaries
                self.sizes.append(len(pixels))
                self.has_begun.set()
                assert self.may_go_on.wait(SECONDS)
                self.before(pixels)
            return forward(module, pixels)

        def counted(batches, item, future):
            taken = put(batches, item, future)
            self.queued += 1
            return taken

        monkeypatch.setattr(PatchEmbed, "forward", noted)
        monkeypatch.setattr(Batches, "put", counted)

    async def begun(self, desk, *requests):
        """Tasks of asyncio for these requests: the first one is computed, and the others wait for its end."""
        first = asyncio.create_task(desk.answer(*requests[0]))
        await asyncio.to_thread(self.has_begun.wait, SECONDS)
        others = [asyncio.create_task(desk.answer(*one)) for one in requests[1:]]
        await asyncio.to_thread(until, lambda: self.queued == len(requests))
        return [first, *others]

    def asked(self, desk, *requests, meanwhile=lambda: None):
        """Answers to requests, of which the first is computed alone; `meanwhile` is called while the others wait."""

        async def ask():
            tasks = await self.begun(desk, *requests)
            await asyncio.to_thread(meanwhile)
            self.may_go_on.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        return asyncio.run(asyncio.wait_for(ask(), SECONDS))


@pytest.fixture
def passes(monkeypatch):
    found = Passes(monkeypatch)
    yield found
    found.may_go_on.set()


def until(condition):
    """Wait until something holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_images_that_wait_for_a_pass_share_the_next_one(tmp_path, passes):
    files = [exported(tmp_path / f"{name}.vpt", seed=seed).path for seed, name in enumerate(("cells", "wood"))]
    requests = [("cells", BODY), *[(name, encoded(smooth(k))) for k in range(3) for name in ("cells", "wood")]]
    with running(files=files, batch=4) as desk:
        found = passes.asked(desk, *requests)
    assert passes.sizes == [1, 4, 2]
    for (name, body), one in zip(requests, found, strict=True):
        assert_as_alone(one, tmp_path / f"{name}.vpt", body)


def test_more_than_may_wait_are_refused_at_once(file, passes):
    with running(files=[file], most_waiting=3) as desk:

        def refused():
            assert desk.waiting == 3
            with pytest.raises(TooMuchAtOnce, match="3 images wait already: send this one again"):
                answer(desk)

        assert len(passes.asked(desk, *[("cells", BODY)] * 3, meanwhile=refused)) == 3
        assert desk.waiting == 0
        assert answer(desk).task == "cells"


def test_an_image_is_not_computed_for_someone_who_has_gone(file, passes):
    async def ask(desk):
        first, gone, other = await passes.begun(desk, *[("cells", BODY)] * 3)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        assert desk.waiting == 2
        passes.may_go_on.set()
        return await asyncio.gather(first, other)

    with running(files=[file]) as desk:
        found = asyncio.run(asyncio.wait_for(ask(desk), SECONDS))
        assert desk.waiting == 0
    assert len(found) == 2 and passes.sizes == [1, 1]


def test_an_image_that_fails_in_the_model_fails_alone(file, passes):
    plain = encoded(flat())

    def break_at_plain(pixels):
        if (pixels.std(dim=(2, 3)).amax(dim=1) < 1e-6).any():
            raise RuntimeError("the backbone is broken")

    passes.before = break_at_plain
    with running(files=[file]) as desk:
        one, other, bad, third = passes.asked(desk, ("cells", BODY), ("cells", BODY), ("cells", plain), ("cells", BODY))
    assert passes.sizes == [1, 3, 1, 1, 1]
    assert isinstance(bad, NoAnswer) and "log of the service" in str(bad) and "broken" not in str(bad)
    for found in (one, other, third):
        assert_as_alone(found, file)


@pytest.mark.parametrize("body", [BODY, BODY[:-30], b"some text"], ids=["answered", "cut off", "no image"])
def test_an_image_does_not_stay_in_memory_after_its_answer(file, body):
    own = bytes(bytearray(body))  # not the one that other tests hold
    held = sys.getrefcount(own)
    with running(files=[file]) as desk:
        gc.disable()  # what only the collector frees stays for long, because it does not see how large an image is
        try:
            asked(desk, ("cells", own))
            until(lambda: sys.getrefcount(own) == held)
        finally:
            gc.enable()


def test_an_answer_that_is_no_number_is_no_answer(file, passes):
    def spoil(pixels):
        pixels[1] = torch.nan

    passes.before = lambda pixels: spoil(pixels) if len(pixels) > 1 else None
    with running(files=[file]) as desk:
        first, *others = passes.asked(desk, *[("cells", BODY)] * 3)
    good, bad = sorted(others, key=lambda one: isinstance(one, NoAnswer))  # two threads decode, in any order
    assert isinstance(bad, NoAnswer) and "is not a number" in str(bad)
    assert first.probability == pytest.approx(good.probability)


# ---- the end --------------------------------------------------------------------------------------------------------


def test_at_the_end_those_that_wait_are_answered_and_new_ones_refused(file, passes):
    with running(files=[file]) as desk:
        stopped = threading.Thread(target=desk.stop, args=(SECONDS,))

        def stop():
            stopped.start()
            until(lambda: not desk.ready)
            with pytest.raises(Stopping, match="it stops"):
                answer(desk)

        found = passes.asked(desk, *[("cells", BODY)] * 3, meanwhile=stop)
        stopped.join(SECONDS)
    assert [one.task for one in found] == ["cells"] * 3


def test_without_patience_all_that_wait_are_refused(file, passes, monkeypatch):
    """The pass that is computed then is still computed, and the desk says so."""
    monkeypatch.setattr(desk_module, "SECONDS_TO_END", 0.1)
    ended = []
    with running(files=[file]) as desk:
        found = passes.asked(desk, *[("cells", BODY)] * 3, meanwhile=lambda: ended.append(desk.stop(0.01)))
        until(lambda: desk.stop(0))
    assert [type(one) for one in found] == [Stopping] * 3
    assert ended == [False]


def test_no_thread_is_left_when_a_desk_has_stopped(file):
    """A thread within torch at the interpreter's end would abort the process."""
    before = set(threading.enumerate())
    desk = Desk(files=[file])
    desk.start()
    answer(desk)
    assert {thread.name for thread in set(threading.enumerate()) - before} >= {"vpt-poll", "vpt-batches"}
    assert desk.stop(SECONDS)
    until(lambda: not set(threading.enumerate()) - before)


def test_a_desk_is_ready_from_start_to_stop(file):
    desk = Desk(files=[file])
    assert not desk.ready and not desk.tasks
    with pytest.raises(Stopping):
        answer(desk)
    desk.start()
    assert desk.ready and desk.tasks["cells"].problem == "" and desk.problems == {}
    desk.stop(0)
    assert not desk.ready
    desk.stop(0)


def test_no_image_is_left_on_the_disk(file):
    with running(files=[file]) as desk:
        answer(desk)
        assert len(list(Path(tempfile.gettempdir()).iterdir())) == 1
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_what_a_killed_service_has_left_is_removed_and_what_another_one_uses_is_not(file):
    left, used, other = (Path(tempfile.gettempdir()) / name for name in ("vptlib-images-a", "vptlib-images-b", "x"))
    for folder in (left, used, other):
        folder.mkdir()
        (folder / "in-use").touch()
        (folder / "7").write_bytes(BODY)
    with (used / "in-use").open() as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        with running(files=[file]):
            assert not left.exists()
            assert (used / "7").exists() and (other / "7").exists()


# ---- versions -------------------------------------------------------------------------------------------------------


def passing(*_):
    return [SimpleNamespace(passed=True, plain=lambda: {"kind": "accuracy", "passed": True})]


def promote(path, name="cells"):
    """Put a file into production. Gives its version."""
    registry = PromptRegistry()
    version = registry.register(path, name, "ann").number
    registry.promote(name, version, "bob", gates=passing)
    return version


@pytest.fixture(scope="module")
def files_of_versions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    return [exported(folder / f"{seed}.vpt", seed=seed).path for seed in range(3)]


@pytest.fixture
def versions(files_of_versions, own_store):
    """Files of three versions of one prompt; the first is in production."""
    promote(files_of_versions[0])
    return files_of_versions


def test_a_promotion_a_rollback_and_a_retirement_take_effect(versions):
    with running("cells") as desk:
        assert_as_alone(answer(desk), versions[0])
        first = desk.tasks["cells"]
        assert desk.refresh() == [] and desk.tasks["cells"] == first
        number = promote(versions[1])
        assert desk.refresh() == ["cells"]
        found = answer(desk)
        assert_as_alone(found, versions[1])
        serving = desk.tasks["cells"]
        assert found.version == serving.version == number and found.digest == serving.digest
        assert serving.since > first.since
        PromptRegistry().roll_back("cells", "ann", "too many alarms")
        assert desk.refresh() == ["cells"]
        assert_as_alone(answer(desk), versions[0])
        PromptRegistry().retire("cells", first.version, "ann", "broken")
        assert desk.refresh() == ["cells"]
        assert not desk.tasks and "nothing of it is in production" in desk.problems["cells"]
        with pytest.raises(UnknownTask, match="nothing is served now"):
            answer(desk)
        assert not len(desk.bank_report())


def test_the_registry_is_asked_every_few_seconds(versions):
    with running("cells", poll_seconds=0.05) as desk:
        promote(versions[1])
        until(lambda: desk.tasks["cells"].digest == digest_of(versions[1]))
        assert_as_alone(answer(desk), versions[1])


def test_a_pass_that_has_begun_names_the_version_that_it_began_with(versions, passes):
    with running("cells") as desk:
        before = desk.tasks["cells"].version

        def swap():
            promote(versions[1])
            assert desk.refresh() == ["cells"]

        old, new = passes.asked(desk, ("cells", BODY), ("cells", BODY), meanwhile=swap)
    assert_as_alone(old, versions[0])
    assert_as_alone(new, versions[1])
    assert old.version == before != new.version


def test_an_image_is_decoded_again_for_a_version_that_wants_another_part_of_it(tmp_path, versions, passes):
    cropping = made(tmp_path / "crop.vpt", 4, "crop")
    body = SHAPES["oblong"]
    with running("cells") as desk:

        def swap():
            promote(cropping)
            desk.refresh()

        old, new = passes.asked(desk, ("cells", body), ("cells", body), meanwhile=swap)
    assert_as_alone(old, versions[0], body)
    assert_as_alone(new, cropping, body)


def test_tasks_on_several_backbones_are_answered_and_one_may_move(tmp_path, versions, passes):
    wood = exported(tmp_path / "wood.vpt", "linear").path
    with running("cells", files=[wood, made(tmp_path / "steel.vpt", backbone=3)]) as desk:
        assert desk.bank_report()["backbone"].nunique() == 2

        def move():
            promote(made(tmp_path / "moved.vpt", backbone=5))
            assert desk.refresh() == ["cells"]
            assert len(desk.bank_report()) == 4  # an image still waits for the one before

        old, waited = passes.asked(desk, ("cells", BODY), ("cells", BODY), meanwhile=move)
        for found in (old, waited):
            assert_as_alone(found, versions[0])
        for name, path in {"cells": "moved", "wood": "wood", "steel": "steel"}.items():
            assert_as_alone(answer(desk, name), tmp_path / f"{path}.vpt")
        desk.refresh()
        assert desk.bank_report()["backbone"].nunique() == len(desk.bank_report()) == 3


def kept_file(store, path):
    """Where the registry keeps a file."""
    (found,) = store.rglob(f"{digest_of(path)}.vpt")
    return found


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(versions, own_store):
    with running("cells") as desk:
        number = promote(versions[1])
        kept = kept_file(own_store, versions[1])
        whole = kept.read_bytes()
        kept.write_bytes(whole[:-7])
        assert desk.refresh() == []
        serving = desk.tasks["cells"]
        assert serving.digest == digest_of(versions[0]) and desk.problems["cells"] == serving.problem
        assert f"version {number} could not be loaded, so version {serving.version} still answers" in serving.problem
        assert_as_alone(answer(desk), versions[0])
        kept.write_bytes(whole)
        assert desk.refresh() == ["cells"]
        assert desk.tasks["cells"].problem == "" and not desk.problems
        assert_as_alone(answer(desk), versions[1])


def test_a_rollback_ends_the_problem_of_a_version_that_cannot_be_loaded(versions, own_store):
    with running("cells") as desk:
        promote(versions[1])
        kept_file(own_store, versions[1]).write_bytes(b"")
        desk.refresh()
        assert desk.tasks["cells"].problem
        PromptRegistry().roll_back("cells", "ann", "its file is broken")
        assert desk.refresh() == []
        assert desk.tasks["cells"].problem == ""


def test_a_poll_does_not_try_a_version_again_and_again(versions, monkeypatch):
    tried, read = [], sources.Offer.read

    def fail(offer):
        tried.append(offer.number)
        if offer.digest == digest_of(versions[1]):
            raise UserError("the disk is broken.")
        return read(offer)

    monkeypatch.setattr(sources.Offer, "read", fail)
    with running("cells", poll_seconds=0.01) as desk:
        number = promote(versions[1])
        until(lambda: "the disk is broken" in desk.tasks["cells"].problem)
        time.sleep(0.2)
        assert tried.count(number) == 1
        desk.refresh()
        assert tried.count(number) == 2


def test_while_the_registry_is_away_what_is_loaded_answers(versions, monkeypatch):
    def away(*_):
        raise UserError("the registry does not answer.")

    with running("cells") as desk:
        with monkeypatch.context() as patch:
            patch.setattr(PromptRegistry, "version", away)
            patch.setattr(PromptRegistry, "versions", away)
            assert desk.refresh() == []
            assert desk.tasks["cells"].problem == "the registry does not answer."
            assert_as_alone(answer(desk), versions[0])
        desk.refresh()
        assert desk.tasks["cells"].problem == ""


def test_where_the_ledger_was_changed_what_is_loaded_answers(versions, own_store):
    with running("cells") as desk:
        PromptRegistry().retire("cells", desk.tasks["cells"].version, "ann", "broken")
        rewrite(own_store, 3, text_of(own_store, 3).replace("broken", "brilliant"))
        assert desk.refresh() == []
        assert "is in doubt" in desk.tasks["cells"].problem
        assert_as_alone(answer(desk), versions[0])


def test_while_versions_change_every_answer_is_that_of_the_version_that_it_names(versions):
    numbers = {digest_of(path): promote(path) for path in versions}
    done = threading.Event()

    def change(desk):
        for turn in range(9):
            promote(versions[turn % 3])
            desk.refresh()
        done.set()

    async def ask(desk):
        found = []
        while not done.is_set():
            found += await asyncio.gather(*(desk.answer("cells", BODY) for _ in range(5)))
        return found

    with running("cells") as desk:
        changing = threading.Thread(target=change, args=(desk,))
        changing.start()
        found = asyncio.run(asyncio.wait_for(ask(desk), 3 * SECONDS))
        changing.join(SECONDS)
    rows = {digest_of(path): alone(path) for path in versions}
    assert {one.digest for one in found} == set(rows)
    for one in found:
        assert one.version == numbers[one.digest]
        assert one.probability == pytest.approx(rows[one.digest]["probability"], abs=1e-5)


# ---- memory ---------------------------------------------------------------------------------------------------------


def room_for_one(tmp_path):
    """Bytes that hold one small task, and not two."""
    with running(files=[exported(tmp_path / "measured.vpt").path]) as desk:
        return int(1.5 * desk.bank_report()["bytes"].item())


def test_a_version_that_was_fetched_while_a_newer_one_was_loaded_is_found(tmp_path):
    old, new = (exported(tmp_path / f"{seed}.vpt", seed=seed) for seed in range(2))
    offer = sources.Offer("cells", 2, new.digest, new.path)
    lane = Lane(small_backbone(), None, 4, lambda body, card: Seen((), None), lambda images: None)
    lane.load(offer, new)
    assert not lane.is_behind(offer)
    lane.bank.load("cells", old)
    assert lane.is_behind(offer)
    assert lane.close() == []


def test_a_task_that_made_room_comes_back(tmp_path):
    files = [exported(tmp_path / f"{name}.vpt", seed=seed).path for seed, name in enumerate(("cells", "wood"))]
    with running(files=files, most_bytes=room_for_one(tmp_path)) as desk:
        assert list(desk.tasks) == ["cells", "wood"]
        for _ in range(2):
            for path in files:
                assert_as_alone(answer(desk, path.stem), path)
                assert list(desk.bank_report()["name"]) == [path.stem]
        found = asked(desk, *[(path.stem, BODY) for path in files] * 3)
        for one, path in zip(found, files * 3, strict=True):
            assert_as_alone(one, path)


def test_a_task_whose_file_is_gone_fails_without_a_path_and_others_answer(tmp_path):
    files = [exported(tmp_path / f"{name}.vpt", seed=seed).path for seed, name in enumerate(("cells", "wood"))]
    with running(files=files, most_bytes=room_for_one(tmp_path)) as desk:
        files[0].unlink()
        gone, *others = asked(desk, ("cells", BODY), ("wood", BODY), ("wood", BODY))
        for one in others:
            assert_as_alone(one, files[1])
    assert isinstance(gone, NoAnswer) and "'cells' cannot be loaded" in str(gone) and str(tmp_path) not in str(gone)


def test_a_task_does_not_come_back_from_another_file_under_the_name_of_its_version(tmp_path):
    files = [exported(tmp_path / f"{name}.vpt", seed=seed).path for seed, name in enumerate(("cells", "wood"))]
    with running(files=files, most_bytes=room_for_one(tmp_path)) as desk:
        exported(files[0], seed=7)
        with pytest.raises(NoAnswer):
            answer(desk)
        assert desk.refresh() == ["cells"]
        assert_as_alone(answer(desk), files[0])


# ---- files and the start --------------------------------------------------------------------------------------------


def test_a_file_that_was_replaced_is_a_new_version_and_one_that_is_gone_still_answers(file, tmp_path):
    with running(files=[file]) as desk:
        exported(file, seed=5)
        new = tmp_path / "new.vpt"
        new.write_bytes(file.read_bytes())
        assert desk.refresh() == ["cells"]
        assert_as_alone(answer(desk), new)
        file.unlink()
        assert desk.refresh() == []
        assert "put the file back" in desk.tasks["cells"].problem
        assert_as_alone(answer(desk), new)


@pytest.mark.parametrize(
    ("names", "files", "words"),
    [
        ((), (), "nothing to serve"),
        (("cells",), ("cells.vpt",), "two tasks are named 'cells'"),
        ((), ("a/cells.vpt", "b/cells.vpt"), "two tasks are named 'cells'"),
    ],
)
def test_what_cannot_be_served_is_named_before_the_start(names, files, words):
    with pytest.raises(UserError, match=words):
        Desk(names, files)


def test_a_start_without_any_task_says_why_and_leaves_nothing(own_store):
    desk = Desk(["cells"])
    with pytest.raises(UserError, match="'cells' cannot be served: there is no prompt 'cells'"):
        desk.start()
    assert not desk.ready and list(Path(tempfile.gettempdir()).iterdir()) == []


def test_a_start_with_a_damaged_file_says_which(file, tmp_path):
    bad = tmp_path / "bad.vpt"
    bad.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(UserError, match="'bad' cannot be served: the file could not be loaded"):
        Desk(files=[file, bad]).start()


def test_a_name_with_nothing_in_production_is_not_served_until_something_is(versions, tmp_path):
    wood = exported(tmp_path / "wood.vpt", seed=6).path
    PromptRegistry().register(wood, "wood", "ann")
    with running("cells", "wood") as desk:
        assert list(desk.tasks) == ["cells"] and list(desk.problems) == ["wood"]
        promote(wood, "wood")
        assert desk.refresh() == ["wood"]
        assert_as_alone(answer(desk, "wood"), wood)
        assert desk.problems == {}


def test_all_that_is_in_production_is_served_also_what_comes_later(versions, tmp_path):
    wood = exported(tmp_path / "wood.vpt", seed=6).path
    desk = Desk(None, poll_seconds=3600)
    desk.start()
    try:
        assert list(desk.tasks) == ["cells"] and desk.refresh() == []
        promote(wood, "wood")
        assert desk.refresh() == ["wood"]
        assert list(desk.tasks) == ["cells", "wood"]
        assert_as_alone(answer(desk, "wood"), wood)
    finally:
        desk.stop(SECONDS)


def test_a_start_with_nothing_in_production_has_the_way_out(own_store, monkeypatch):
    with pytest.raises(UserError, match="nothing is in production: vpt prompts promote"):
        Desk(None).start()

    def away():
        raise UserError("the registry does not answer.")

    monkeypatch.setattr(desk_module, "in_production", away)
    with pytest.raises(UserError, match="the registry does not answer"):
        Desk(None).start()


@pytest.mark.parametrize(("name", "wanted"), [("file:mine.safetensors", "file:/here.safetensors"), ("small", None)])
def test_the_place_of_a_backbone_is_for_models_whose_card_names_a_file(tmp_path, monkeypatch, name, wanted):
    asked_for = []
    monkeypatch.setattr(
        desk_module, "load_backbone_of", lambda artefact, where: asked_for.append(where) or small_backbone()
    )
    model = exported(tmp_path / "cells.vpt")
    card = replace(model.card, backbone=replace(model.card.backbone, name=name))
    write_artefact(tmp_path / "cells.vpt", load_model(model, small_backbone()), card, answers_for())
    with running(files=[tmp_path / "cells.vpt"], backbone="file:/here.safetensors"):
        assert asked_for == [wanted]
