"""What vptlib stands on, written by `make supply`: which packages, under which licences, with which known weaknesses.

    python tests/supply.py

It writes `reports/supply/sbom.json` (CycloneDX 1.6) and `licences.md`, out of the pins of `constraints.txt` and the
metadata of this environment. Then it asks pip-audit for known weaknesses of the same pins. It ends with exit code 1
if a licence or a weakness is not explained in `reports/supply/explained.toml`, or if a pin was not audited.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from vptlib.errors import UserError
from vptlib.paths import repository, whole_file
from vptlib.redaction import redacted

CONSTRAINTS = repository() / "constraints.txt"
FOLDER = repository() / "reports" / "supply"
SBOM, LICENCES, EXPLAINED, AUDIT = (
    FOLDER / name for name in ("sbom.json", "licences.md", "explained.toml", "audit.json")
)
NONE_DECLARED = "none declared"
_SECONDS = 900
_MOST_DAYS = 92  # that an explanation of a weakness may hold before somebody reads it again
_LONGEST = 100  # letters of a licence's name; a longer one is the text of the licence
# Licences that a company reads before it gives vptlib to others: what must be shared alike, is sold, or is not said.
_TO_READ = re.compile(
    r"GPL|MPL|Mozilla|EUPL|CDDL|\bEPL|Eclipse|SSPL|BUSL|Commons.Clause|-NC|non.?commercial|proprietary|nvidia|\bIPA\b"
    rf"|^OSI Approved$|^{NONE_DECLARED}$",
    re.IGNORECASE,
)


# ---- the pins, and the bill of them ---------------------------------------------------------------------------


def pins(text: str) -> dict[str, tuple[str, str]]:
    """The pins of a file of constraints: canonical name → name as written, version.

    Raises:
        UserError: a line is no exact pin.
    """
    found = {}
    for line in text.splitlines():
        if not (bare := line.split("#")[0].strip()):
            continue
        name, pinned, version = bare.partition("==")
        if not pinned or not re.fullmatch(r"[\w.+!-]+", version):
            raise UserError(f"constraints.txt has the line {bare!r}: pin one version, as in numpy==2.4.6.")
        found[canonicalize_name(name)] = name, version
    return found


def bill(wanted: Mapping[str, tuple[str, str]], seen: Mapping[str, Any]) -> dict[str, Any]:
    """The bill of materials in the form of CycloneDX 1.6: the pins and no more, in the same order each time.

    No address, no path and no time is in it, so that it is the same on each machine.

    Args:
        wanted: as `pins` gives them.
        seen: the bill that cyclonedx-py made of an environment.
    """
    here: dict[str, Any] = {}
    for part in seen["components"]:
        name = canonicalize_name(part["name"])
        if name not in here or wanted.get(name, ("", ""))[1] == part["version"]:  # a broken installation has two
            here[name] = part
    tools = [
        {key: tool[key] for key in ("type", "name", "version")} for tool in seen["metadata"]["tools"]["components"]
    ]
    about = {"type": "library", "bom-ref": "vptlib", "name": "vptlib", "licenses": [{"license": {"id": "Apache-2.0"}}]}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": about, "tools": {"components": sorted(tools, key=lambda tool: tool["name"])}},
        "components": [_component(*wanted[name], here.get(name)) for name in sorted(wanted)],
    }


def _component(name: str, version: str, seen: Mapping[str, Any] | None) -> dict[str, Any]:
    address = f"pkg:pypi/{canonicalize_name(name)}@{version}"
    part: dict[str, Any] = {"type": "library", "bom-ref": address, "name": name, "version": version, "purl": address}
    if seen is None:
        return part
    if licences := seen.get("licenses") or _in_words(name):
        part["licenses"] = licences
    if seen["version"] != version:
        part["properties"] = [{"name": "vptlib:licence-of-version", "value": seen["version"]}]
    return part


def _in_words(name: str) -> list[dict[str, Any]]:
    """The licence that the metadata of an installed package names in words of its own."""
    try:
        words = " ".join(str(metadata(name).json.get("license", "")).split())
    except PackageNotFoundError:
        return []
    return [{"license": {"acknowledgement": "declared", "name": words}}] if 0 < len(words) <= _LONGEST else []


def environment_bill() -> dict[str, Any]:
    """The bill that cyclonedx-py makes of this environment; it takes most of a minute.

    Raises:
        UserError: it cannot be made.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--sv", "1.6"]
    done = subprocess.run([*command, sys.executable], capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise UserError(f"cyclonedx-py made no bill: {_last_line(done.stderr)} Install it: pip install cyclonedx-bom.")
    return json.loads(done.stdout)


# ---- licences -------------------------------------------------------------------------------------------------


def licences_of(part: Mapping[str, Any]) -> list[str]:
    """The names of a component's licences, each once."""
    found = []
    for entry in part.get("licenses", ()):
        one = entry.get("license", {})
        found.append(entry.get("expression") or one.get("id") or one["name"].rpartition(":: ")[2])
    return sorted(set(found)) or [NONE_DECLARED]


def to_read(licences: Iterable[str]) -> list[str]:
    """Those that a company reads before it gives vptlib to others."""
    return [licence for licence in licences if _TO_READ.search(licence)]


def unexplained_licences(components: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each package whose licence is to be read and not explained, and for each row without a use."""
    asked = {(canonicalize_name(part["name"]), name) for part in components for name in to_read(licences_of(part))}
    known = {(canonicalize_name(name), row["licence"]) for row in rows for name in row["packages"]}
    return [
        f"{name} has the licence {licence!r}, which is not explained." for name, licence in sorted(asked - known)
    ] + [f"{name} has no licence {licence!r} any more: take it out." for name, licence in sorted(known - asked)]


def licences_page(components: Sequence[Mapping[str, Any]]) -> str:
    """A table of licences, those of most packages first; the names of packages where a licence is to be read."""
    by_name: dict[str, list[str]] = {}
    for part in components:
        for name in licences_of(part):
            by_name.setdefault(name, []).append(part["name"])
    rows = [
        f"| {name} | {len(held)} | {', '.join(sorted(held, key=str.lower)) if to_read([name]) else ''} |"
        for name, held in sorted(by_name.items(), key=lambda item: (-len(item[1]), item[0].lower()))
    ]
    head = (
        "# Licences of the packages in constraints.txt\n\nWritten by `make supply`, out of the packages' own metadata."
    )
    more = "Packages are named where [SECURITY.md](../../SECURITY.md#licences) says more. Some declare two licences."
    return "\n".join([head, more, "", "| licence | packages | to be read |", "|---|---|---|", *rows, ""])


# ---- known weaknesses -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What an audit says.

    Attributes:
        faults: a sentence for each finding without an explanation, each pin that was not audited, each row without use.
        findings: "package id" of all that was found, explained or not.
        audited: how many pins were looked up.
    """

    faults: list[str]
    findings: list[str]
    audited: int


def judged(
    found: Mapping[str, Any], wanted: Mapping[str, tuple[str, str]], rows: Sequence[Mapping[str, Any]], today: date
) -> Verdict:
    """The verdict on what `pip-audit -f json` printed.

    pip-audit ends well also when its service has never heard of a package, so each pin is looked for here.

    Args:
        rows: explanations with id (or an alias of it), package, why and until; after that day they count no more, nor
            if it is more than 92 days ahead.
    """
    audited: dict[str, Any] = {
        canonicalize_name(one["name"]): one for one in found["dependencies"] if "skip_reason" not in one
    }
    held = {name for name, (_, version) in wanted.items() if audited.get(name, {}).get("version") == version}
    faults, used = [], set()
    if missing := sorted(set(wanted) - held):
        reasons = [one["skip_reason"] for one in found["dependencies"] if "skip_reason" in one]
        why = f" ({redacted(reasons[0])})" if reasons else ""
        faults.append(f"{len(missing)} of {len(wanted)} pins were not audited: {_some(missing)}{why}.")
    for name, one in sorted(audited.items()):
        for weakness in one["vulns"]:
            fitting = {number for number, row in enumerate(rows) if _is_about(row, name, weakness)}
            used |= fitting
            if not any(0 <= (rows[number]["until"] - today).days <= _MOST_DAYS for number in fitting):
                faults.append(_complaint(name, one["version"], weakness, explained_once=bool(fitting)))
    if not missing:  # else a row may be about what was not asked
        faults += [f"{row['id']} of {row['package']} is found no more: take it out." for row in _others(rows, used)]
    findings = [f"{name} {weakness['id']}" for name, one in sorted(audited.items()) for weakness in one["vulns"]]
    return Verdict(faults, findings, len(held))


def _is_about(row: Mapping[str, Any], name: str, weakness: Mapping[str, Any]) -> bool:
    names = {weakness["id"], *weakness.get("aliases", ())}
    return canonicalize_name(row["package"]) == name and row["id"] in names


def _others(rows: Sequence[Mapping[str, Any]], used: set[int]) -> list[Mapping[str, Any]]:
    return [row for number, row in enumerate(rows) if number not in used]


def _complaint(name: str, version: str, weakness: Mapping[str, Any], explained_once: bool) -> str:
    repaired = ", ".join(weakness["fix_versions"])
    way_out = f"pin {repaired}" if repaired else "replace the package, or explain it"
    late = f"its explanation does not end within the next {_MOST_DAYS} days"
    known = late if explained_once else "it is not explained"
    return f"{name} {version} has {weakness['id']}, and {known}: {way_out}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")


def found_by_pip_audit() -> dict[str, Any]:
    """What pip-audit prints about the pins, as `-f json`.

    Raises:
        UserError: it could not ask its service.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "audit.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip"]
        options = ["--format", "json", "--progress-spinner", "off", "--output", str(answer)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=_SECONDS, check=False)
        if not answer.exists() or not (text := answer.read_text("utf-8")).strip():
            raise UserError(
                f"the packages were not audited: {_last_line(done.stderr)} Try where the network allows it."
            )
    return json.loads(text)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return redacted(lines[-1]) if lines else "no reason was given."


# ---- the command ----------------------------------------------------------------------------------------------


def explained() -> dict[str, list[dict[str, Any]]]:
    """The explanations: `finding` has rows of id, package, why and until; `licence` of licence, packages and why."""
    return {"finding": [], "licence": []} | tomllib.loads(EXPLAINED.read_text("utf-8"))


def write_bill(wanted: Mapping[str, tuple[str, str]]) -> list[str]:
    """Write the bill and the page of licences; the sentences about licences come back."""
    made = bill(wanted, environment_bill())
    _write(SBOM, json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    _write(LICENCES, licences_page(made["components"]))
    return unexplained_licences(made["components"], explained()["licence"])


def audit(wanted: Mapping[str, tuple[str, str]]) -> list[str]:
    """Ask for known weaknesses, and keep the day and the findings if all pins were looked up."""
    now = datetime.now(UTC).date()
    verdict = judged(found_by_pip_audit(), wanted, explained()["finding"], now)
    if verdict.audited == len(wanted):
        about = {"day": now.isoformat(), "pins": verdict.audited, "findings": verdict.findings}
        _write(AUDIT, json.dumps(about, indent=1) + "\n")
    return verdict.faults


def _write(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def main() -> int:
    """Both parts, also if the first one complains; the exit code is 1 if any did."""
    wanted, faults = pins(CONSTRAINTS.read_text("utf-8")), []
    for part in (write_bill, audit):
        try:
            faults += part(wanted)
        except (UserError, subprocess.TimeoutExpired) as error:
            faults.append(str(error))
    print("\n".join(faults) or f"{len(wanted)} packages: licences explained, no weakness left unexplained.")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
