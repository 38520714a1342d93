"""Look a store over without changing it: what `vpt store check` prints. No images and no backbone are needed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vptlib.errors import UserError
from vptlib.paths import bytes_in
from vptlib.study.address import store_address
from vptlib.study.artefacts import fault_of
from vptlib.study.connection import Store, open_store
from vptlib.study.database import alone, examined, faults, refusal
from vptlib.study.leftovers import Leftovers, leftovers_of, lock_of


@dataclass
class Inspection:
    """What was found in a store.

    Attributes:
        where: its address, without a password.
        state: of its file, as in `vptlib.study.database.State`; "server" for a server that answers; "" if not known.
        finished: number of finished runs.
        damaged: name of a finished run → what is wrong with it. It counts as missing and will be made again.
        bytes: sizes of the database and of the artefacts.
        left: what killed processes have left; the next study removes it.
        faults: sentences about what keeps the store from being used.
    """

    where: str
    state: str = ""
    finished: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    left: Leftovers = field(default_factory=Leftovers)
    faults: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the store can be used, and no finished run is damaged."""
        return not self.faults and not self.damaged


def inspect_store() -> Inspection:
    """Look over the store of this process."""
    address = store_address()
    found = Inspection(address.shown)
    try:
        if address.file:
            _look_at_file(found, address.file)
            if found.faults or found.state != "whole":
                return found
        store = open_store()
        found.state = found.state or "server"
        with alone(lock_of(store)):
            found.left = leftovers_of(store)
        for run in _runs(store):
            found.finished += 1
            if fault := fault_of(run):
                found.damaged[f"{run.info.run_name} ({run.info.run_id[:8]})"] = fault
    except UserError as error:
        found.faults.append(str(error))
    return found


def _look_at_file(found: Inspection, file: Path) -> None:
    state = examined(file)
    found.state = state.kind
    if file.exists():
        found.bytes["database"] = file.stat().st_size
        found.bytes["artefacts"] = bytes_in(file.parent / "artifacts")
    if state.kind in ("newer", "foreign", "cut off"):
        found.faults.append(refusal(file, state))
    elif state.kind == "whole":
        found.faults += [f"{file} is damaged ({line}): put back a copy." for line in faults(file)]


def _runs(store: Store) -> Iterator:
    """All finished runs of the store, a page at a time."""
    token = None
    while True:
        page = store.client.search_runs(
            [store.experiment], "attributes.status = 'FINISHED'", max_results=1000, page_token=token
        )
        yield from (run for run in page if "key" in run.data.tags)
        token = page.token
        if not token:
            return
