"""vptlib.bench: the arithmetic behind the floor, and that the benchmarks run; no time is tested."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pandas as pd
import pytest
import torch
from models import draw_images, small_vit
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vptlib.bench import __main__ as program
from vptlib.bench import arithmetic, operations, parity
from vptlib.bench import prompting as bench
from vptlib.operations.registry import PromptRegistry
from vptlib.paths import repository
from vptlib.prompting.vit import PromptedViT
from vptlib.study.connection import mlflow_client
from vptlib.tuning.backbones import ClsMeanViT
from vptlib.tuning.methods import build_method

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3}


@pytest.mark.parametrize("prompts", [1, 40])
def test_the_floor_is_what_the_fast_form_multiplies(prompts):
    """PyTorch counts the products of a real step; the head's, which the floor leaves out, are taken off."""
    batch, width, tokens = 4, 16, 17
    model = PromptedViT(small_vit(num_classes=5, **SIZES), prompts).train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(draw_images(batch, 32)).sum().backward()
    head = 3 * 2 * batch * width * 5  # forward, to the weights, to the features
    floor = bench.fast_step_flops(3, width, tokens, prompts, batch, 3 * 8 * 8)
    counted = counter.get_total_flops() - head
    assert floor <= counted <= 1.25 * floor  # attention's backward also computes what block 0 does not need


@pytest.mark.parametrize("kind", [VisionTransformer, ClsMeanViT], ids=["class token", "class token + mean"])
@pytest.mark.parametrize(("method", "least", "most"), [("vpt-deep", 1, 1.25), ("vpt-shallow", 1, 1.3), ("full", 1, 1)])
def test_the_floor_of_each_method_is_what_a_step_multiplies(method, least, most, kind):
    """The excess: what the first block sends back to the patches of an image, or attention to all tokens."""
    batch, width, inputs = 4, 16, 16 if kind is VisionTransformer else 32
    vit = small_vit(kind, **SIZES | {"depth": 6})
    options = {} if method == "full" else {"num_prompts": arithmetic.PROMPTS}
    model = build_method(method, vit, 5, **options).train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(draw_images(batch, 32)).sum().backward()
    counted = counter.get_total_flops() - 3 * 2 * batch * inputs * 5  # the head's
    floor = arithmetic.step_flops(vit, batch)[method]
    if method == "full" and kind is VisionTransformer:
        floor += 3 * batch * 16 * (20 * width**2 + 4 * 17 * width)  # timm asks for all 17 tokens in the last block
    assert least * floor <= counted <= most * floor


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_benchmark_of_the_arithmetic_runs_and_names_what_the_machine_lacks(monkeypatch, precision):
    sizes = SIZES | {"depth": 3}
    monkeypatch.setattr(bench.Setting, "vit", lambda self: small_vit(num_classes=5, **sizes))
    monkeypatch.setattr(arithmetic, "embedded", lambda size: small_vit(ClsMeanViT, **sizes))
    monkeypatch.setattr(arithmetic, "resolved", lambda wanted: precision)
    threads = torch.get_num_threads()
    table, milliseconds = arithmetic.measure(rounds=1, large_batch=2, small_batch=2, labelled=40)
    assert torch.get_num_threads() == threads and milliseconds["case"].is_unique
    assert list(table["target"]) == [0.4, 0.4, 0.5, 0.5, 0.28, 1.5, 1.6, 1.5, 1.5]
    lacking = table["ratio"] == arithmetic.NO_BF16
    assert list(lacking) == [precision == "fp32"] * 4 + [False] * 5
    assert (table["met"][lacking] == "–").all() and (table["ratio"][~lacking].astype(float) > 0).all()
    assert (table["met"][~lacking] == "yes").equals(table["ratio"][~lacking].astype(float) <= table["target"][~lacking])


def peak_of_64_mib() -> float:
    before = bench.bytes_in_use()
    held = torch.ones(64 * 2**20 // 4)
    return (bench.peak_bytes() - before) * held[0].item()


def test_memory_counts_what_lies_above_the_built_model():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:  # no memory of other tests to use again
        peak = alone.submit(peak_of_64_mib).result()
    assert 60 * 2**20 < peak < 100 * 2**20


def test_the_benchmark_runs_and_every_target_gets_its_ratio(monkeypatch):
    monkeypatch.setattr(bench.Setting, "vit", lambda self: small_vit(num_classes=bench.CLASSES, **SIZES))
    monkeypatch.setattr(bench.Setting, "images", lambda self: (draw_images(2, 32), torch.tensor([0, 1])))
    monkeypatch.setattr(
        bench, "peak_memory", lambda setting: dict.fromkeys((*bench.MEMORY_CASES, bench.CHECKPOINTED), 2.0)
    )
    table, figures = bench.measure(bench.Setting(batch=2, rounds=1, probe_images=8))
    assert len(table) == 10 and (table["ratio"] > 0).all()
    assert (table["met"] == "yes").equals(table["ratio"] <= table["target"])
    assert not figures["ms"].str.fullmatch("–").all() and figures["case"].is_unique
    assert bench.ratio_figure(table).axes


def test_ratios_are_taken_within_a_round():
    seconds = {"a": [1.0, 10.0, 4.0], "b": [2.0, 20.0, 4.0]}  # medians alone would give 1
    assert bench.paired(seconds, "a", "b") == 0.5


def test_a_ratio_above_its_target_is_not_met():
    forms = [f"VPT-deep, {form} form, {n} prompts" for form in ("fast", "textbook") for n in (10, 50, 100, 200)]
    seconds = {name: [1.0, 2.0] for name in forms}
    seconds |= {"kept": [0.25, 0.5], "full fine-tuning": [2.0, 4.0], "inference, bare backbone": [1.0, 2.0]}
    seconds |= {"inference, fast form, 200 prompts": [1.2, 2.4]}
    memory = dict.fromkeys(bench.MEMORY_CASES, 1.0) | {"full fine-tuning": 4.0}
    table = bench.ratios(seconds, memory, 0.01).set_index("case")
    expected = pd.Series(["no", "no", "no", "yes", "yes", "no", "yes", "yes", "no", "yes"], index=table.index)
    pd.testing.assert_series_equal(table["met"], expected, check_names=False)


def test_the_readme_shows_the_measured_table():
    def rows(*place):
        lines = repository().joinpath(*place).read_text().splitlines()
        return [line for line in lines if line.endswith(("| yes |", "| no |"))]

    assert rows("README.md") == rows("reports", "benchmarks", "prompting.md") != []


def test_parity_compares_the_precisions_and_names_the_winner_of_each():
    rows = [("bf16", "full", 0.70), ("bf16", "full", 0.736), ("bf16", "vpt-deep", 0.715)]
    rows += [("fp32", "full", 0.70), ("fp32", "full", 0.73), ("fp32", "vpt-deep", 0.725)]
    runs = pd.DataFrame(rows, columns=["precision", "method", "accuracy"]).assign(task="a")
    table = parity.compared(runs)
    assert list(table["difference"]) == [0.3, -1.0] and list(table["met"]) == ["yes", "no"]
    assert table["spread of seeds"][0] == pytest.approx(2.1)
    assert parity.winners(table) == "a: the winner is not the same (vpt-deep, full)."


# ---- operations -------------------------------------------------------------------------------------------------

SMALL = operations.Setting(
    **{"image_size": 28, "depth": 1, "batch": 4, "few": 2, "rounds": 1, "registry_rounds": 1, "predict_rounds": 1},
    **{"switches": 3, "loads": 2, "names": 2, "versions": 11, "jpegs": 6, "predict_sizes": (42, 28)},
    **{"prompts": 2, "models": 1, "scale": (1, 2, 4)},
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A small backbone, and model files for it by method."""
    vit, folder = SMALL.vit(), tmp_path_factory.mktemp("drawn")
    counts = {"full": 1, "vpt-deep": 20, "linear": 2}
    return vit, {name: operations.write_models(folder, vit, name, count) for name, count in counts.items()}


def test_the_benchmark_of_operations_runs_alone_and_every_case_gets_its_figure(own_store, tmp_path, monkeypatch):
    (tmp_path / "reports").mkdir()
    found = []
    monkeypatch.setattr(operations, "alone", lambda run, *given: run(*given))
    monkeypatch.setattr(operations, "registry_in", lambda _, *given: operations.registry_seconds(*given))
    monkeypatch.setattr(
        operations, "measure", lambda measure=operations.measure: found.append(measure(SMALL)) or found[0]
    )
    monkeypatch.setattr(program, "repository", lambda: tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "operations"])
    program.main()

    table = found[0].bounds
    batches, tasks, registry, answers = (
        ["1.1"] * 2 + ["1.25"] * 2 + ["–"],
        ["5 ms", "–", "200 ms"],
        ["1 s"] * 3,
        ["1.2"],
    )
    assert list(table["target"]) == [*batches, *tasks, *registry, *answers, *["–"] * 6]
    assert table["case"].is_unique and found[0].milliseconds["case"].is_unique
    for row in table.itertuples():
        measured, *unit = row.measured.split()
        assert row.target == "–" or row.target.split()[1:] == unit
        kept = row.target == "–" or float(measured) <= float(row.target.split()[0])
        assert row.met == ("–" if row.target == "–" else "yes" if kept else "no")
    (page,) = (tmp_path / "reports" / "benchmarks").glob("operations*.md")
    (picture,) = page.parent.glob("operations*.png")
    assert all(row in page.read_text() for row in table["case"]) and f"]({picture.name})" in page.read_text()
    assert picture.stat().st_size < 150_000


@pytest.mark.parametrize(
    ("measured", "unit", "shown", "met"),
    [
        (1.204, "", "1.20", "yes"),
        (1.206, "", "1.21", "no"),
        (0.4, "ms", "0.40 ms", "yes"),
        (153.4, "ms", "153 ms", "no"),
    ],
)
def test_a_figure_is_met_as_it_is_shown(measured, unit, shown, met):
    row = operations.bound("a", measured, 1.2, unit)
    assert (row["measured"], row["met"]) == (shown, met)


def test_a_planted_registry_is_as_its_users_would_have_made_it(own_store, drawn):
    _, files = drawn
    operations.plant(files["vpt-deep"][0], names=3, versions=12)
    registry = PromptRegistry()
    assert [version.ref for version in registry.versions("line 001")] == [f"line 001/{k}" for k in range(1, 13)]
    assert len(registry.versions()) == 36 and len({version.digest for version in registry.versions()}) == 36
    assert [registry.verify(f"line {k:03}") for k in range(3)] == [[]] * 3
    kinds = [(entry.kind, entry.version) for entry in registry.history("line 002")]
    assert kinds.count(("promoted", 1)) == kinds.count(("promoted", 11)) == 1 and len(kinds) == 14
    assert registry.version("line 002@production").number == 11
    shown = mlflow_client().search_model_versions("name = 'line 000'")
    assert {found.tags["sha256"] for found in shown} == {found.digest for found in registry.versions("line 000")}
    assert {model.name for model in mlflow_client().search_registered_models()} == {
        f"line {k:03}{ending}" for k in range(3) for ending in ("", ".ledger")
    }
    more = registry.register(files["linear"][0], "line 000", "ann")
    assert more.number == 13 and registry.verify("line 000") == []


def test_beyond_the_files_a_task_needs_the_mean_and_prompts_need_the_backbone_once(drawn):
    vit, files = drawn
    setting = operations.Setting(scale=(1, 2, 4))
    few = {method: paths[:2] for method, paths in files.items()}
    scale = operations.footprints(setting, vit, few).set_index(["method", "tasks"])
    backbone = sum(tensor.nbytes for tensor in vit.state_dict().values())
    for method, shared in (("full", 0), ("vpt-deep", backbone), ("linear", backbone)):
        sizes, disk = [path.stat().st_size for path in few[method]], scale.loc[method]["disk"]
        assert disk[1] == shared + sizes[0] and disk[4] == shared + 4 * sum(sizes) / len(sizes)
        assert list(scale.loc[method]["measured"]) == [True, len(sizes) == 2, False]
    memory = scale["memory"]
    assert backbone < memory["full", 1] < 1.2 * backbone
    assert backbone < memory["linear", 4] < memory["vpt-deep", 4] < memory["full", 2]


def test_the_table_of_scale_tells_what_is_computed_and_the_figure_names_each_line(drawn):
    vit, files = drawn
    setting = operations.Setting(scale=(1, 3))
    scale = operations.footprints(setting, vit, {name: paths[:1] for name, paths in files.items()})
    table = operations.scale_table(scale)
    assert list(table["tasks"]) == ["1", "3"] and table.shape == (2, 7)
    assert table.drop(columns="tasks").map(lambda cell: cell.startswith("*")).all(axis=1).tolist() == [False, True]
    for axes in operations.scale_figure(scale).axes:
        assert {text.get_text() for text in axes.texts} == {"Full fine-tuning", "VPT-deep", "Linear probe"}


def growths_and_threads(files):
    return operations.growths(SMALL, files), torch.get_num_threads()


def test_a_process_grows_by_about_what_a_bank_counts_and_has_as_many_threads_as_this_one(drawn):
    files, before = {name: drawn[1][name] for name in ("full", "vpt-deep")}, torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        grown, threads = operations.alone(growths_and_threads, files)
    finally:
        torch.set_num_threads(before)
    assert 0.9 < grown["full"] < 1.1 and 0.6 < grown["vpt-deep"] < 1.6
    assert threads == before + 1


def test_photographs_are_jpeg_files_that_can_be_read(tmp_path):
    folder = operations.photographs(tmp_path / "images", operations.DRAWN + 1)
    paths = sorted(folder.iterdir())
    assert len(paths) == operations.DRAWN + 1
    assert paths[0].read_bytes() == paths[-1].read_bytes() != paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert image.format == "JPEG" and image.size == operations.SIDES
