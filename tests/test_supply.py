"""The bill of packages is that of the pins, and no licence and no known weakness passes without an explanation."""

import ast
import json
import pickle
import re
from datetime import date
from pathlib import Path

import pytest
import supply
import torch
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from models import small_vit
from packaging.utils import canonicalize_name
from torch.utils.data import TensorDataset

from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import Recipe, fit

PINS = supply.pins(supply.CONSTRAINTS.read_text("utf-8"))
SBOM = json.loads(supply.SBOM.read_text("utf-8"))
SECURITY = (repository() / "SECURITY.md").read_text("utf-8")
FEW = {"alpha": ("Alpha", "1.0"), "beta": ("beta", "2.0")}
TODAY = date(2026, 12, 1)


# ---- the bill ---------------------------------------------------------------------------------------------------


def test_the_bill_has_every_pin_with_its_version_and_nothing_else():
    billed = {canonicalize_name(part["name"]): (part["name"], part["version"]) for part in SBOM["components"]}
    assert billed == PINS and len(PINS) > 200, "run: make supply"


def test_the_bill_is_one_of_cyclonedx():
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(supply.SBOM.read_text("utf-8")) is None


def test_the_bill_has_no_time_no_path_and_no_host():
    text = supply.SBOM.read_text("utf-8")
    assert "serialNumber" not in SBOM and "timestamp" not in SBOM["metadata"]
    assert "file:" not in text and str(Path.home()) not in text and str(repository()) not in text
    assert set(re.findall(r"\w+://[^/\"]*", text)) == {"http://cyclonedx.org"}


def seen(*parts):
    return {"components": list(parts), "metadata": {"tools": {"components": [{**TOOL, "externalReferences": ["x"]}]}}}


TOOL = {"type": "application", "name": "maker", "version": "7"}
MIT = {"license": {"id": "MIT"}}
ALPHA = {"name": "alpha", "version": "1.0", "licenses": [MIT], "description": "long", "externalReferences": ["x"]}
BETA = {"name": "Beta", "version": "2.1", "licenses": [{"expression": "MIT AND MPL-2.0"}]}
OTHER = {"name": "other", "version": "3", "licenses": [MIT]}


def test_a_bill_is_the_same_whatever_else_is_installed_and_in_which_order():
    first, second = supply.bill(FEW, seen(ALPHA, BETA, OTHER)), supply.bill(FEW, seen(BETA, ALPHA))
    assert first == second and [part["purl"] for part in first["components"]] == [
        "pkg:pypi/alpha@1.0",
        "pkg:pypi/beta@2.0",
    ]
    assert "description" not in str(first) and "externalReferences" not in str(first)


def test_a_licence_of_another_version_says_so():
    alpha, beta = supply.bill(FEW, seen(ALPHA, BETA))["components"]
    assert "properties" not in alpha and beta["properties"][0]["value"] == "2.1"


def test_of_two_installed_versions_that_of_the_pin_counts():
    old = {**ALPHA, "version": "0.9", "licenses": [{"license": {"id": "GPL-3.0-only"}}]}
    for order in ((old, ALPHA), (ALPHA, old)):
        assert supply.bill(FEW, seen(*order))["components"][0]["licenses"] == [MIT]


def test_a_package_that_is_not_here_has_a_licence_that_is_not_known():
    parts = supply.bill(FEW, seen(ALPHA))["components"]
    assert [supply.licences_of(part) for part in parts] == [["MIT"], [supply.NONE_DECLARED]]


@pytest.mark.parametrize("line", ["numpy", "numpy>=2", "numpy==2.*", "numpy==2.0; python_version>'3'"])
def test_a_line_that_is_no_exact_pin_is_refused(line):
    with pytest.raises(UserError, match="pin one version"):
        supply.pins(f"# head\nalpha==1.0  # why\n{line}\n")


# ---- licences -----------------------------------------------------------------------------------------------


def test_every_licence_that_a_company_reads_is_explained():
    assert supply.unexplained_licences(SBOM["components"], supply.explained()["licence"]) == []


def test_the_page_of_licences_is_that_of_the_bill():
    assert supply.LICENCES.read_text("utf-8") == supply.licences_page(SBOM["components"]), "run: make supply"


def test_security_md_says_more_of_each_licence_that_is_to_be_read():
    asked = {name for part in SBOM["components"] for name in supply.to_read(supply.licences_of(part))}
    told = SECURITY.partition("## Licences")[2].partition("\n## ")[0]
    families = {"LGPL", "MPL", "Mozilla", "IPA", "NVIDIA", "Proprietary", supply.NONE_DECLARED, "OSI Approved"}
    assert all(any(family in name for family in families) for name in asked)
    assert [word for word in ("LGPL", "MPL", "IPA", "NVIDIA", "none declared", "FFmpeg") if word not in told] == []


TO_READ = {
    "AGPL-3.0-or-later": True,
    "GNU Lesser General Public License v3 (LGPLv3)": True,
    "MPL-2.0 AND MIT": True,
    "CC-BY-NC-4.0": True,
    "OSI Approved": True,
    "none declared": True,
    "Other/Proprietary License": True,
    "Apache-2.0 AND BSD-2-Clause": False,
    "MIT": False,
    "Python-2.0": False,
    "Apache-2.0 WITH LLVM-exception": False,
}


@pytest.mark.parametrize(("licence", "read"), TO_READ.items())
def test_licences_that_a_company_reads_are_told_from_others(licence, read):
    assert bool(supply.to_read([licence])) == read


def test_a_licence_that_changed_is_seen_and_so_is_a_row_without_a_use():
    parts = supply.bill(FEW, seen(ALPHA, BETA))["components"]
    row = {"licence": "MPL-2.0", "packages": ["Beta"], "why": "unchanged"}
    new, old = supply.unexplained_licences(parts, [row])
    assert new == "beta has the licence 'MIT AND MPL-2.0', which is not explained."
    assert old == "beta has no licence 'MPL-2.0' any more: take it out."
    assert supply.unexplained_licences(parts, [row | {"licence": "MIT AND MPL-2.0"}]) == []


# ---- known weaknesses ---------------------------------------------------------------------------------------

WEAKNESS = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": ["CVE-2026-11", "GHSA-aaaa"], "description": "x"}
ROW = {"id": "CVE-2026-11", "package": "Alpha", "why": "its server is not used", "until": date(2026, 12, 31)}
CLEAN = {"name": "beta", "version": "2.0", "vulns": []}


def audited(*vulns, beta=CLEAN):
    return {"dependencies": [{"name": "alpha", "version": "1.0", "vulns": list(vulns)}, beta], "fixes": []}


def faults(found, rows=(), today=TODAY):
    return supply.judged(found, FEW, rows, today).faults


def test_an_audit_without_a_finding_is_clean():
    verdict = supply.judged(audited(), FEW, [], TODAY)
    assert verdict == supply.Verdict([], [], 2)


def test_a_finding_without_an_explanation_fails_and_names_the_version_that_helps():
    assert faults(audited(WEAKNESS)) == ["alpha 1.0 has PYSEC-2026-1, and it is not explained: pin 1.1."]
    (said,) = faults(audited(WEAKNESS | {"fix_versions": []}))
    assert said.endswith("replace the package, or explain it.")


@pytest.mark.parametrize("name", ["PYSEC-2026-1", "CVE-2026-11", "GHSA-aaaa"])
def test_an_explanation_holds_under_each_name_of_the_weakness(name):
    verdict = supply.judged(audited(WEAKNESS), FEW, [ROW | {"id": name}], TODAY)
    assert verdict.faults == [] and verdict.findings == ["alpha PYSEC-2026-1"]


def test_an_explanation_of_another_package_or_weakness_explains_nothing():
    for other in ({"package": "beta"}, {"id": "CVE-2026-1"}):
        unexplained, unused = faults(audited(WEAKNESS), [ROW | other])
        assert "not explained" in unexplained and "found no more" in unused


@pytest.mark.parametrize(("today", "holds"), [(date(2026, 12, 31), True), (date(2027, 1, 1), False)])
def test_an_explanation_expires(today, holds):
    assert (faults(audited(WEAKNESS), [ROW], today) == []) == holds


def test_an_explanation_for_years_is_none():
    (said,) = faults(audited(WEAKNESS), [ROW | {"until": date(2030, 1, 1)}])
    assert "within the next 92 days" in said


def test_an_explanation_of_what_is_found_no_more_is_to_be_taken_out():
    assert faults(audited(), [ROW]) == ["CVE-2026-11 of Alpha is found no more: take it out."]


NOT_HEARD_OF = {"name": "beta", "skip_reason": "Dependency not found on PyPI and could not be audited: beta (2.0)"}


@pytest.mark.parametrize("beta", [NOT_HEARD_OF, CLEAN | {"version": "2.1"}])
def test_a_package_that_was_not_looked_up_is_not_clean(beta):
    """pip-audit itself ends with "No known vulnerabilities found" then."""
    verdict = supply.judged(audited(beta=beta), FEW, [ROW], TODAY)
    (said,) = verdict.faults
    assert said.startswith("1 of 2 pins were not audited: beta") and verdict.audited == 1


def test_the_rows_of_this_repository_are_whole():
    rows = supply.explained()
    assert all(set(row) == {"id", "package", "why", "until"} and row["why"] for row in rows["finding"])
    assert all(set(row) == {"licence", "packages", "why"} and row["why"] for row in rows["licence"])
    assert set(rows) == {"finding", "licence"} and rows["licence"]


def test_security_md_says_when_the_audit_last_asked_for_all_pins():
    told = SECURITY.partition("## Known weaknesses of packages")[2].partition("\n## ")[0]
    if supply.AUDIT.exists():
        assert json.loads(supply.AUDIT.read_text("utf-8"))["day"] in told
    else:
        assert "never" in told


# ---- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The command on two pins, in a folder of its own, with what the two programs print given here."""
    (tmp_path / "constraints.txt").write_text("Alpha==1.0\nbeta==2.0\n")
    (tmp_path / "explained.toml").write_text("")
    monkeypatch.setattr(supply, "CONSTRAINTS", tmp_path / "constraints.txt")
    for name, file in {"SBOM": "sbom.json", "LICENCES": "licences.md", "EXPLAINED": "explained.toml"}.items():
        monkeypatch.setattr(supply, name, tmp_path / file)
    monkeypatch.setattr(supply, "AUDIT", tmp_path / "audit.json")
    beta = BETA | {"version": "2.0", "licenses": [MIT]}
    monkeypatch.setattr(supply, "environment_bill", lambda: seen(ALPHA, beta))
    monkeypatch.setattr(supply, "found_by_pip_audit", audited)
    return tmp_path


def test_the_command_ends_well_and_keeps_the_day_of_the_audit(elsewhere, capsys):
    assert supply.main() == 0
    assert json.loads((elsewhere / "audit.json").read_text())["pins"] == 2
    assert "2 packages" in capsys.readouterr().out and "| MIT | 2 |" in (elsewhere / "licences.md").read_text()


def test_the_command_fails_on_a_finding_and_keeps_it(elsewhere, monkeypatch, capsys):
    monkeypatch.setattr(supply, "found_by_pip_audit", lambda: audited(WEAKNESS))
    assert supply.main() == 1 and "PYSEC-2026-1" in capsys.readouterr().out
    assert json.loads((elsewhere / "audit.json").read_text())["findings"] == ["alpha PYSEC-2026-1"]


def test_an_audit_that_could_not_ask_fails_and_is_no_audit_but_the_bill_is_written(elsewhere, monkeypatch, capsys):
    def refused():
        raise UserError("the packages were not audited: no route. Try where the network allows it.")

    for answer in (refused, lambda: audited(beta=NOT_HEARD_OF)):
        monkeypatch.setattr(supply, "found_by_pip_audit", answer)
        assert supply.main() == 1 and "not audited" in capsys.readouterr().out
        assert not (elsewhere / "audit.json").exists() and (elsewhere / "sbom.json").exists()


def test_a_service_that_cannot_be_asked_is_one_sentence(monkeypatch, tmp_path):
    """pip-audit itself, with a list that it cannot read: no network is asked."""
    monkeypatch.setattr(supply, "CONSTRAINTS", tmp_path / "missing.txt")
    with pytest.raises(UserError, match=r"were not audited: .*Try where the network allows it"):
        supply.found_by_pip_audit()


# ---- what SECURITY.md says --------------------------------------------------------------------------------------

PROGRAMS = sorted((repository() / "vptlib").rglob("*.py"))
PICKLES = {
    "vptlib/computed.py",  # results of this process, in a folder that ends with the report
    "vptlib/study/cluster.py",  # what a study sends to its own workers, which run its code anyway
}


def foreign_code(program: str, name: str = "") -> list[str]:
    """The calls of a program that could run code of whoever wrote what it reads."""
    return [
        f"{name} line {call.lineno}: {ast.unparse(call.func)}"
        for call in ast.walk(ast.parse(program))
        if isinstance(call, ast.Call) and _is_dangerous(ast.unparse(call.func), call)
    ]


def _is_dangerous(function: str, call: ast.Call) -> bool:
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    last = function.rpartition(".")[2]
    if function == "torch.load":
        return given.get("weights_only") != "True"
    if function in ("np.load", "numpy.load"):
        return "allow_pickle" in given
    return (
        function in ("pickle.load", "pickle.loads", "joblib.load", "yaml.load", "yaml.unsafe_load", "exec", "os.system")
        or last in ("extractall", "unpack_archive")
        or given.get("shell") == "True"
        or "trust_remote_code" in given
    )


def test_no_program_of_the_library_uses_what_runs_foreign_code():
    names = {str(path.relative_to(repository())): path.read_text("utf-8") for path in PROGRAMS}
    assert len(names) > 100
    found = {name: calls for name, text in names.items() if (calls := foreign_code(text, name))}
    assert set(found) <= PICKLES and "vptlib/computed.py" in found, found
    assert all(call.endswith(": pickle.loads") for calls in found.values() for call in calls)


@pytest.mark.parametrize(
    "call",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "yaml.load(text, Loader=yaml.Loader)",
        "archive.extractall(folder)",
        "subprocess.run(command, shell=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_a_call_that_may_run_foreign_code_is_found(call):
    assert len(foreign_code(call)) == 1


class Harmful:
    """Whoever unpickles it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_cannot_run_code(tmp_path):
    trap, checkpoint = tmp_path / "trap", tmp_path / "run.pt"
    torch.save({"recipe": Harmful(trap)}, checkpoint)
    images = TensorDataset(torch.zeros(4, 3, 28, 28), torch.tensor([0, 1, 0, 1]))
    model = build_method("linear", small_vit(), num_classes=2)
    with pytest.raises(UserError, match=r"checkpoint .* cannot be read"):
        fit(model, images, None, Recipe(steps=1, learning_rate=0.1), checkpoint=checkpoint)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Harmful(trap)))
    assert trap.exists()  # it would have worked


def test_timm_reads_no_pickle_that_can_run_code(tmp_path):
    """The way of weights from the hub, with a file in its place."""
    import timm

    trap, weights = tmp_path / "trap", tmp_path / "weights.bin"
    torch.save({"head.weight": Harmful(trap)}, weights)
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        timm.create_model("vit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay={"file": str(weights)})
    assert not trap.exists()


def test_every_test_and_file_that_security_md_names_is_there():
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", SECURITY)
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^def {name}\(", (repository() / file).read_text("utf-8"), re.MULTILINE)
    ]
    assert missing == [] and len(named) > 15
    links = [link for link in re.findall(r"\]\(([^)#]+)", SECURITY) if "://" not in link]
    assert links and [link for link in links if not (repository() / link).exists()] == []


def test_no_explained_licence_is_missing_on_the_page():
    rows = supply.explained()["licence"]
    told = SECURITY.partition("## Licences")[2]
    missing = [name for row in rows for name in row["packages"] if name not in told and not name.startswith("nvidia-")]
    assert missing == []
    assert sum(name.startswith("nvidia-") for row in rows for name in row["packages"]) == 15
