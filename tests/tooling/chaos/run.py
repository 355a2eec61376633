"""
Run the chaos suite: ``python -m tests.tooling.chaos.run [--short] [--rounds N] [--seed S] [--record] [--traces FILE]``.

First every fault on its own, side by side, those of the network among them; then the faults of shared parts, and
their combinations with outages; then random mixes until there are enough rounds. ``--only`` plays the rounds whose
fault a regular expression finds. The exit code is 0 only if no invariant was broken.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
import secrets
import signal
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._sweep.judgement import QUIET_S
from tests.tooling.sim.recorded import assemble
from tests.tooling.sim.traces import write_traces

from . import faults
from .cluster import Cluster
from .judge import Verdict, gather, judge
from .network_faults import network_singles
from .rounds import Round, World, round_of
from .takeovers import takeovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

    from tests.tooling.sim.traces import Trace

    Playing = dict[int, tuple[Round | None, Iterator[Callable[[], bool]], Callable[[], bool]]]
    """What happens from outside: to which round, the steps, and what the next one waits for."""

RESULTS = Path(__file__).parent / "RESULTS.md"
BATCH_LIMIT_S = 600.0
STABLE_S = 6.0
SWEEP_S = 60.0
"""How long a sweep may take on a busy machine, with a cancel and its effect."""

LEFT_S = 25.0
"""How long an operation that may be left running is watched, in case it is cancelled all the same."""

SWEEP_EVERY_S = 30.0

MIXES = 2
"""At least so many random mixes."""

MIX_SIZE = 30
SHORT_MIX_SIZE = 12
SHORT_ALONE = 75
"""So many of all faults that need no fault of a shared part; others with each seed."""

SHORT_SHARED = 8
"""A shared fault with more rounds than that takes five minutes."""

MAX_ALONE = 200
"""More single faults than that aren't over within a batch's time."""

MAX_AT_ONCE = 28
"""More tasks at once, and on two cores Airflow itself begins to time out."""


class Suite:
    """One cluster and all rounds on it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.sweeps = cluster.sweep_every_s > 0
        self.world = World(cluster)
        self.rounds: list[Round] = []
        self._hanging: list[tuple[str, psutil.Process | None]] = []
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the time since the beginning."""
        print(f"[{time.monotonic() - self._began:6.0f} s] {text}", flush=True)

    def batch(self, name: str, rounds: list[Round], shared: faults.Shared | None = None) -> list[Verdict]:
        """Run rounds side by side, and return what the judge says."""
        self.say(f"{name}: {len(rounds)} rounds")
        with suppress(OSError):
            self.cluster.emulator.clear_faults()
        self._play(rounds, shared)
        begun = [one for one in rounds if one.id]
        found = gather(self.cluster, begun)
        verdicts = [judge(one, found[one.id], sweeps=self.sweeps) for one in begun]
        broken = [verdict for verdict in verdicts if verdict.violations]
        missed = [verdict for verdict in verdicts if verdict.missed and not verdict.violations]
        self.say(f"{name}: {len(rounds)} rounds, {len(broken)} with violations, {len(missed)} missed")
        for verdict in [*broken, *missed]:
            print(verdict.report(), flush=True)
        self._look_for_hanging(name)
        return verdicts

    def _begin(self, one: Round) -> None:
        self.rounds.append(one)
        one.id = f"r{len(self.rounds):03d}"
        emulator = self.cluster.emulator
        for fault in one.server:
            one.server_faults.append(emulator.script_fault(operation=f"rounds/{one.id}/", **fault))
        for api_fault in one.api:
            self.cluster.execution_api.add(one.id, api_fault)
        if one.own_line:
            one.connection = f"line_{one.id}"
            one.line = self.cluster.lay_line(one.connection)
        conf: dict[str, Any] = {
            "round": one.id,
            "script": one.script,
            "connection": one.connection,
            "die": one.die,
            "linger": one.linger,
        }
        if one.sensor:
            conf["operation"] = _start_operation(emulator.url, one)
        self.cluster.trigger(one.dag_id, one.id, conf)

    def _play(self, rounds: list[Round], shared: faults.Shared | None) -> None:
        pending = sorted(rounds, key=lambda each: each.first)  # taken from the end
        waiting: Playing = {}
        if shared is not None:
            steps = shared.play(self.world, rounds)
            waiting[id(steps)] = (None, steps, lambda: not pending)
        over: dict[str, float] = {}
        end = time.monotonic() + BATCH_LIMIT_S
        said = time.monotonic()
        while time.monotonic() < end:
            while pending and len(rounds) - len(pending) - len(over) < MAX_AT_ONCE:
                self._begin(one := pending.pop())
                for step in one.steps:
                    steps = step(self.world, one)
                    waiting[id(steps)] = (one, steps, _always)
            self.world.look()
            self._advance(waiting)
            now = time.monotonic()
            for one in rounds:
                if self.world.over(one):
                    over.setdefault(one.id, now)
                else:
                    over.pop(one.id, None)
            idle = not pending and all(one is not None for one, _, _ in waiting.values())
            if idle and len(over) == len(rounds) and self._settled(rounds, over, now):
                break
            if now - said > 30:
                said = now
                states = Counter(
                    str(ti.state) if (ti := self.world.ti(one)) else "gone"
                    for one in rounds
                    if one.id not in over
                )
                self.say(f"  over: {len(over)} of {len(rounds)}; {dict(states)}")
            time.sleep(0.5)
        for one in rounds:
            one.over_s = over.get(one.id)
            if one.over_s is None and (ti := self.world.ti(one)) is not None:
                one.act(f"given up by the suite in state {ti.state} ({ti.run_state})")

    def _advance(self, waiting: Playing) -> None:
        """Let everything that happens from outside go on where its moment has come."""
        for key, (one, steps, condition) in list(waiting.items()):
            try:
                if condition():
                    waiting[key] = (one, steps, next(steps))
            except StopIteration:
                del waiting[key]
            except Exception as error:  # noqa: BLE001  a step that can't be done is told, not fatal
                del waiting[key]
                self.say(f"step failed for {one.name if one else 'the shared part'}: {error!r}"[:500])

    def _settled(self, rounds: list[Round], over: dict[str, float], now: float) -> bool:
        try:
            running = self._running()
        except OSError:
            return False
        for one in rounds:
            since = now - over[one.id]
            if one.expect.left[1] and since < LEFT_S:
                return False
            if since < STABLE_S or (
                one.id in running and not one.expect.left[1] and since < one.expect.settle_s
            ):
                return False
        return True

    def _look_for_hanging(self, name: str) -> None:
        for part in self.cluster.dead():
            self._hanging.append((f"{name}: {part} died", None))
            self.say(f"{part} died")
        known = [process for _, process in self._hanging]
        for title, process in self.cluster.task_processes().items():
            if process in known:
                continue
            run_id = self.cluster.run_of(title.rpartition(" ")[2])
            whose = next((one.name for one in self.rounds if one.id == run_id), "a round that is gone")
            line = f"{title}, {whose}\n{self.cluster.stack(process)}"
            self._hanging.append((f"{name}: {line}", process))
            self.say(f"still there: {line}")

    def left_behind(self) -> list[str]:
        """Return the parts that died, and the task processes of a batch that have outlived it and are still there."""
        return [line for line, process in self._hanging if process is None or process.is_running()]

    def traces(self) -> list[Trace]:
        """Return what happened to the task of each round."""
        names = {one.id: f"chaos {one.name}" for one in self.rounds}
        emulator = self.cluster.emulator
        return assemble(
            self.cluster.recorder.rows(),
            emulator.journal(),
            emulator.operations(),
            lambda _, run_id, __: names[run_id],
            "rounds/{}/".format,
        )

    def final(self) -> list[Verdict]:
        """Judge every round once more, now that all is over: nothing may have come late."""
        if self.sweeps:
            self._await_sweeps()
        found = gather(self.cluster, self.rounds)
        return [judge(one, found[one.id], sweeps=self.sweeps, swept=True) for one in self.rounds]

    def _await_sweeps(self) -> None:
        """Wait until nothing runs that a sweep is to end, or it should have been ended for long."""
        orphans = {one.id for one in self.rounds if one.expect.swept}
        limit_s = QUIET_S + self.cluster.sweep_every_s + SWEEP_S
        self.say("waiting for sweeps")
        with suppress(TimeoutError):  # the judge tells what runs on
            self.cluster.until(lambda: not self._running() & orphans, "sweeps have ended it", limit_s)

    def _running(self) -> set[str]:
        """Return the rounds of which an operation runs."""
        return {
            round_of(each["name"])
            for each in self.cluster.emulator.operations()
            if not each["done"] and each["name"].startswith("rounds/")
        }


def _always() -> bool:
    return True


def _start_operation(url: str, one: Round) -> str:
    request = urllib.request.Request(
        f"{url}/v1/rounds/{one.id}/things:run", json.dumps({"operation": one.script}).encode(), method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return str(json.load(answer)["name"])


def summary(verdicts: list[Verdict], hanging: list[str], head: str) -> str:
    """Return the table of results as Markdown."""
    injected = Counter(
        kind for verdict in verdicts if not verdict.missed for kind in verdict.round.kinds if kind != "none"
    )
    broken = Counter(kind for verdict in verdicts if verdict.violations for kind in verdict.round.kinds)
    beyond = Counter(
        verdict.round.expect.out_of_reach for verdict in verdicts if verdict.round.expect.out_of_reach
    )
    left = Counter(
        verdict.round.expect.out_of_reach
        for verdict in verdicts
        if any(op.ended_s is None for op in verdict.evidence.ops)
    )
    violations = sum(bool(verdict.violations) for verdict in verdicts)
    missed = sum(bool(verdict.missed) for verdict in verdicts)
    figures = (
        f"Rounds: {len(verdicts)}; faults injected: {sum(injected.values())}; rounds whose fault did not come "
        f"about: {missed}; out of a task's reach, as the documentation says: {sum(beyond.values())}; "
        f"operations that sweeps have asked to cancel: {sum(verdict.evidence.swept for verdict in verdicts)}; "
        f"violations: {violations + len(hanging)}."
    )
    lines = [
        head,
        "",
        figures,
        "",
        "| fault | injected | violations |",
        "|---|---|---|",
        *(f"| {kind} | {count} | {broken[kind]} |" for kind, count in sorted(injected.items())),
        "",
        "| out of a task's reach | rounds | an operation runs on |",
        "|---|---|---|",
        *(f"| {reason} | {count} | {left[reason]} |" for reason, count in sorted(beyond.items())),
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the suite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--short", action="store_true", help="outages of 15 s and one small random batch")
    parser.add_argument(
        "--only", default="", help="only rounds with a fault of this name (regular expression)"
    )
    parser.add_argument(
        "--times", type=int, default=1, help="play these single faults so often, side by side"
    )
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument(
        "--traces", type=Path, help="write what happened to each task, for the simulation's model"
    )
    parser.add_argument(
        "--sweep",
        type=float,
        default=SWEEP_EVERY_S,
        help="seconds from one sweep to the next (30); 0: no sweeps, and what is out of a task's reach runs on",
    )
    parser.add_argument("--keep", action="store_true", help="leave Airflow's folder behind")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    chance = random.Random(seed)
    outage_s = 15.0 if arguments.short else 60.0
    began = datetime.now(timezone.utc)
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else nothing would be cleaned up
    records = arguments.traces is not None
    with Cluster(keep=arguments.keep, records=records, sweep_every_s=arguments.sweep) as cluster:
        suite = Suite(cluster)
        suite.say(f"Airflow is up ({cluster.home})" if arguments.keep else "Airflow is up")
        _play_all(suite, arguments, chance, outage_s)
        verdicts = suite.final()
        hanging = suite.left_behind()
        if arguments.traces is not None:
            write_traces(arguments.traces, suite.traces())
    minutes = (datetime.now(timezone.utc) - began).total_seconds() / 60
    sweeps = f"a sweep every {arguments.sweep:g} s" if arguments.sweep else "no sweeps"
    head = f"{began:%Y-%m-%d %H:%M} UTC, seed {seed}, outages of {outage_s:g} s, {sweeps}, {minutes:.0f} min."
    text = summary(verdicts, hanging, head)
    print(text)
    bad = [verdict for verdict in verdicts if verdict.violations]
    for verdict in bad:
        print(verdict.report())
    for line in hanging:
        print(f"left behind: {line}")
    if arguments.record:
        RESULTS.write_text(f"# Results of `make chaos`\n\n{text}\n")
    return 1 if bad or hanging or not verdicts else 0


def _play_all(suite: Suite, arguments: argparse.Namespace, chance: random.Random, outage_s: float) -> None:
    wanted = arguments.only

    def chosen(rounds: list[Round]) -> list[Round]:
        return [
            one for one in rounds if any(re.search(wanted, f"{kind} ({one.dag_id})") for kind in one.kinds)
        ]

    network = network_singles()
    if not wanted:
        chance.shuffle(network)
        network = faults.once_each(network)
    alone = chosen([*faults.singles(outage_s, short=arguments.short), *faults.out_of_reach(), *network])
    if arguments.short and not wanted:
        alone = chance.sample(alone, SHORT_ALONE)
    often = [copy.deepcopy(one) for one in alone for _ in range(arguments.times)]
    if arguments.times > 1:
        chance.shuffle(often)  # else all of one kind would come at once
    for begin in range(0, len(often), MAX_ALONE):
        suite.batch("single faults", often[begin : begin + MAX_ALONE])
    shared = [*faults.shared(short=arguments.short), *takeovers()]
    if arguments.short and not wanted:
        shared = [chance.choice([fault for fault in shared if len(fault.rounds()) <= SHORT_SHARED])]
    for fault in shared:
        if re.search(wanted, fault.name):
            rounds = fault.rounds()
            if arguments.short and "scheduler" in fault.name and not wanted:
                rounds += faults.mixed(chance, outage_s, SHORT_MIX_SIZE, fault)
            suite.batch(fault.name, rounds, fault)
    order = faults.shared(short=False)
    chance.shuffle(order)
    mixes = 0
    while not (arguments.short or wanted) and (
        (left := arguments.rounds - len(suite.rounds)) > 0 or mixes < MIXES
    ):
        fault = order[mixes % len(order)]
        size = max(min(left, MIX_SIZE), MIX_SIZE if mixes < MIXES else 1)
        rounds = faults.mixed(chance, outage_s, size, fault)
        suite.batch(f"random mix with {fault.name}", rounds, fault)
        mixes += 1


if __name__ == "__main__":
    sys.exit(main())
