"""When pieces of work end that several workers share: whoever is free takes the first piece that may start.

This is the order of `vptlib.study.make_runs` and, with a piece for each published setting, that of
`vptlib.study.cluster_runs`. With lists no other order than the given one is tried (Graham, SIAM Journal on Applied
Mathematics 1969): the end is at most twice the best possible.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from vptlib.study.plan import Cell, Plan
from vptlib.study.run_costs import RunCost


@dataclass(frozen=True)
class Piece:
    """Work that one worker does at a time.

    Attributes:
        cell: the run that it belongs to.
        seconds: that it takes.
        after: numbers of the pieces, in their list, that must have ended before.
    """

    cell: Cell
    seconds: float
    after: frozenset[int] = frozenset()


def pieces_of(plan: Plan, costs: Sequence[tuple[Cell, RunCost]], split: bool, workers: int = 1) -> list[Piece]:
    """The pieces of some runs, in the order in which they are taken.

    Args:
        costs: the runs in the order of the study, with what each costs.
        split: whether each published setting is a piece of its own, as on a cluster.
        workers: each of them prepares the images of a run anew to try its settings.
    """
    pieces: list[Piece] = []
    ends: dict[Cell, int] = {}  # run → number of its last piece
    waiting: list[tuple[Cell, float, frozenset[int]]] = []  # the end of a run whose settings are in the list

    def put(cell: Cell, seconds: float, after: frozenset[int]) -> None:
        ends[cell] = len(pieces)
        pieces.append(Piece(cell, seconds, after))

    for cell, cost in costs:
        if split and cost.settings:
            first = len(pieces)
            pieces += [
                Piece(cell, seconds + cost.first * (number < workers)) for number, seconds in enumerate(cost.settings)
            ]
            waiting, begun = [(cell, cost.last, frozenset(range(first, len(pieces))))], waiting
            for each in begun:  # settings of the next run are in the line by then
                put(*each)
            continue
        for each in waiting:
            put(*each)
        waiting = []
        chooses = ends.get(plan.tuning_cell(cell)) if plan.tuning_cell(cell) != cell else None
        put(cell, cost.total, frozenset() if chooses is None else frozenset({chooses}))
    for each in waiting:
        put(*each)
    return pieces


def ends_of(pieces: Sequence[Piece], workers: int) -> list[float]:
    """When each piece ends, in seconds after the start."""
    ends = [0.0] * len(pieces)
    waiting, over = list(range(len(pieces))), set[int]()
    running: list[tuple[float, int]] = []
    now = 0.0
    while waiting or running:
        ready = [number for number in waiting if pieces[number].after <= over][: workers - len(running)]
        for number in ready:
            ends[number] = now + pieces[number].seconds
            heapq.heappush(running, (ends[number], number))
        waiting = [number for number in waiting if number not in ready]
        now, ended = heapq.heappop(running)
        over.add(ended)
        while running and running[0][0] == now:
            over.add(heapq.heappop(running)[1])
    return ends


def longest_chain(pieces: Sequence[Piece]) -> list[int]:
    """The pieces that must follow each other and take longest together, the first one first: no workers help there."""
    if not pieces:
        return []
    length: dict[int, float] = {}
    for number in sorted(range(len(pieces)), key=lambda k: _depth(pieces, k)):
        before = pieces[number].after
        length[number] = pieces[number].seconds + max((length[k] for k in before), default=0.0)
    chain = [max(length, key=length.__getitem__)]
    while before := pieces[chain[-1]].after:
        chain.append(max(before, key=length.__getitem__))
    return chain[::-1]


def _depth(pieces: Sequence[Piece], number: int) -> int:
    """How many pieces at most come one after the other before this one."""
    return max((1 + _depth(pieces, k) for k in pieces[number].after), default=0)
