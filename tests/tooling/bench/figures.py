"""The figures of the table, each a function that measures it."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_operations.emulator import EmulatorProcess
from tests.tooling.bench.bench import Bench, NotMeasured, Row
from tests.tooling.bench.crowds import crowds
from tests.tooling.bench.emulated import ask, start_operation
from tests.tooling.bench.imports import imports
from tests.tooling.bench.server import Sampler, static_server
from tests.tooling.bench.spec import Measured, Spec
from tests.tooling.bench.storm import StormServer
from tests.tooling.bench.tasks import tasks
from tests.tooling.bench.triggerer import triggerer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Figure = Callable[[Bench], list[Row]]

__all__ = ["FIGURES", "IN_BACKGROUND"]

OURS, FLOOR, SENSOR, EVENT = CANDIDATES = ("ours", "floor", "sensor", "event")
PEERS = (SENSOR, EVENT)


# --- CPU per poll --------------------------------------------------------------------------------------------


def cpu(bench: Bench) -> list[Row]:
    """CPU per poll, all four side by side, each with a server of its own."""
    spec = Spec(OURS, "", 2000, 10.0, begin_over_s=10.0, settle_s=bench.either(5.0, 2.0))
    spec = replace(spec, window_s=bench.either(20.0, 10.0))
    with ExitStack() as stack:
        servers = [stack.enter_context(static_server()) for _ in CANDIDATES]
        specs = [
            replace(spec, candidate=name, url=server.url)
            for name, server in zip(CANDIDATES, servers, strict=True)
        ]
        found = dict(zip(CANDIDATES, bench.side_by_side(specs), strict=True))
        busy = max(server.busy() for server in servers)
        cost = {name: one.cpu_ms_per_poll for name, one in found.items() if isinstance(one, Measured)}
        peer = min((cost[name] for name in PEERS if name in cost), default=None)
        ours = _wanted(found[OURS]).cpu_ms_per_poll
        floor = _wanted(found[FLOOR]).cpu_ms_per_poll
        met = ours <= 1.3 * floor and (peer is None or ours <= 0.5 * peer)
        profile = [] if met else _profile(bench, replace(specs[0], profile="cpu"))
    against = f", {ours / peer:.2f} x peer" if peer else ""
    return [
        Row(
            "CPU per poll, 2,000 operations, 10 s interval",
            "≤ 1.3 x floor, ≤ 0.5 x best peer",
            f"{ours / floor:.2f} x floor{against} ({ours:.2f} ms)",
            f"{floor:.2f} ms",
            _each(found, lambda one: f"{one.cpu_ms_per_poll:.2f} ms"),
            met,
            figures={
                "cpu_ms_per_poll": cost,
                "polls_per_s": {
                    name: one.polls / one.window_s for name, one in found.items() if isinstance(one, Measured)
                },
                "failed": _failures(found),
                "server_busy": busy,
                "garbage_collection_ms_per_poll": {
                    name: one.collecting_ms_per_poll
                    for name, one in found.items()
                    if isinstance(one, Measured)
                },
            },
            profile=profile,
        )
    ]


# --- memory, growth ------------------------------------------------------------------------------------------


def memory(bench: Bench) -> list[Row]:
    """
    Memory of a waiting operation, and whether many of them cost more than few.

    As a user would see it (the same interval), and, more severe, at the same requests a second, where few
    operations have all that they need in the processor's caches.
    """
    count, interval_s = bench.either((10_000, 30.0), (2_000, 10.0))
    few = 100
    many = Spec(OURS, "", count, interval_s, begin_over_s=interval_s / 2, settle_s=interval_s + 3.0)
    many = replace(many, window_s=bench.either(20.0, 8.0))
    both = (OURS, FLOOR)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(static_server()) for name in both}
        specs = [replace(many, candidate=name, url=servers[name].url) for name in both]
        bench.say(f"  {count} operations")
        large = dict(zip(both, bench.side_by_side(specs), strict=True))
        bench.say(f"  {few} operations")
        few_specs = [
            replace(one, count=few, interval_s=interval_s * few / count, begin_over_s=0.0, settle_s=3.0)
            for one in specs
        ]
        small = dict(zip(both, bench.side_by_side(few_specs), strict=True))
        bench.say(f"  {few} operations, {interval_s:.0f} s interval")
        rare_specs = [replace(one, count=few, window_s=interval_s) for one in specs]
        rare = dict(zip(both, bench.side_by_side(rare_specs), strict=True))
        bench.say("  peers")
        for name in PEERS:
            servers[name] = stack.enter_context(static_server())
        # Fewer, as each holds the same, and more of them would keep two cores busy for minutes.
        fewer = replace(
            many, count=bench.either(4_000, 1_000), interval_s=12.0, begin_over_s=12.0, settle_s=14.0
        )
        peer_specs = [
            replace(fewer, candidate=name, url=servers[name].url, window_s=0.0, hold_s=12.0) for name in PEERS
        ]
        large |= dict(zip(PEERS, bench.side_by_side(peer_specs), strict=True))
        ours, floor = _wanted(large[OURS]), _wanted(large[FLOOR])
        light = ours.kb_per_operation <= 10
        growth = {
            name: _wanted(large[name]).cpu_ms_per_poll / _wanted(small[name]).cpu_ms_per_poll for name in both
        }
        steady = growth[OURS] <= 1.1
        dearer = {
            name: (_wanted(large[name]).cpu_us_per_second / count)
            / (_wanted(rare[name]).cpu_us_per_second / few)
            for name in both
        }
        heavy = [] if light else _profile(bench, replace(specs[0], profile="memory", window_s=0.0))
        slow = [] if steady else _profile(bench, replace(specs[0], profile="cpu"))
    kilobytes = {name: one.kb_per_operation for name, one in large.items() if isinstance(one, Measured)}
    return [
        Row(
            f"memory per waiting operation at {count:,}",
            "≤ 10 kB",
            f"{ours.kb_per_operation:.1f} kB",
            f"{floor.kb_per_operation:.1f} kB",
            _each(large, lambda one: f"{one.kb_per_operation:.1f} kB"),
            light,
            figures={"kb_per_operation": kilobytes, "peers_at": fewer.count, "failed": _failures(large)},
            profile=heavy,
        ),
        Row(
            f"growth: CPU per operation at {count:,} against {few}, same interval",
            "≤ 1.1 x",
            f"{dearer[OURS]:.2f} x",
            f"{dearer[FLOOR]:.2f} x",
            "",
            dearer[OURS] <= 1.1,
            figures={
                "growth": dearer,
                "interval_s": interval_s,
                "cpu_us_per_second_many": {name: _wanted(large[name]).cpu_us_per_second for name in both},
                "cpu_us_per_second_few": {name: _wanted(rare[name]).cpu_us_per_second for name in both},
            },
        ),
        Row(
            f"growth: CPU per poll at {count:,} operations against {few}, same requests per second",
            "≤ 1.1 x",
            f"{growth[OURS]:.2f} x",
            f"{growth[FLOOR]:.2f} x",
            "",
            steady,
            figures={
                "growth": growth,
                "cpu_ms_per_poll_many": {name: _wanted(large[name]).cpu_ms_per_poll for name in both},
                "cpu_ms_per_poll_few": {name: _wanted(small[name]).cpu_ms_per_poll for name in both},
                "garbage_collection_ms_per_poll_many": {
                    name: _wanted(large[name]).collecting_ms_per_poll for name in both
                },
                "garbage_collection_ms_per_poll_few": {
                    name: _wanted(small[name]).collecting_ms_per_poll for name in both
                },
            },
            profile=slow,
        ),
    ]


# --- the start -----------------------------------------------------------------------------------------------


def start(bench: Bench) -> list[Row]:
    """Thousands of waits started at once: how long the event loop is blocked, and how many connections it takes."""
    count = bench.either(5_000, 2_000)
    spec = Spec(OURS, "", count, 30.0, hold_s=6.0, frozen=True)
    again = bench.either(3, 1)
    found: dict[str, list[Measured]] = {}
    connections: dict[str, int] = {}
    failed: dict[str, NotMeasured] = {}
    whole = f"{OURS}, all of Airflow's memory collected"
    for name in (*[OURS] * again, whole, FLOOR, *PEERS):
        candidate = OURS if name == whole else name
        with static_server() as server, Sampler(server.url) as sampler:
            one = replace(spec, candidate=candidate, url=server.url, frozen=name != whole)
            try:
                found.setdefault(name, []).append(bench.measure(one))
            except NotMeasured as error:
                failed[candidate] = error
        connections[candidate] = max(sampler.most, connections.get(candidate, 0))
    if OURS in failed:
        raise failed[OURS]
    # What a candidate does, it does each time; what else the machine does is in the others.
    least = {name: min(one.blocked_ms for one in each) for name, each in found.items() if each}
    smooth = least[OURS] <= 50
    profile: list[str] = []
    if not smooth:
        with static_server() as server:
            profile = _profile(bench, replace(spec, url=server.url, profile="block"))
    return [
        Row(
            f"longest event-loop block while {count:,} triggers start",
            "≤ 50 ms from our code",
            f"{least[OURS]:.0f} ms",
            f"{least[FLOOR]:.0f} ms" if FLOOR in least else "failed",
            ", ".join(f"{name} {least[name]:.0f} ms" for name in PEERS if name in least),
            smooth,
            figures={
                name: {
                    "blocked_ms": [one.blocked_ms for one in each],
                    "cpu_ms_between_rounds": [one.blocked_cpu_ms for one in each],
                    "garbage_collection_ms": [one.collected_ms for one in each],
                    "started_s": [one.started_s for one in each],
                }
                for name, each in found.items()
            }
            | {"failed": {name: str(error) for name, error in failed.items()}},
            profile=profile,
        ),
        Row(
            f"connections to one host with {count:,} operations",
            "≤ 16",
            f"{connections[OURS]}",
            f"{connections[FLOOR]}",
            ", ".join(f"{name} {connections[name]}" for name in PEERS),
            connections[OURS] <= 16,
            figures={"connections": connections},
        ),
    ]


# --- batch polling -------------------------------------------------------------------------------------------


def listing(bench: Bench) -> list[Row]:
    """Requests with ``poll_with="list"``: 1,000 operations of an hour each under one parent, some end meanwhile."""
    count = bench.either(1_000, 300)
    lasts_s, interval_s = bench.either((70.0, 10.0), (25.0, 5.0))
    ending = max(2, round(count * lasts_s / 3600))
    names = "projects/bench/operations/n{}"
    spec = Spec(OURS, "", count, interval_s, names, poll_with="list", warm=0, counted=False)
    with EmulatorProcess() as emulator:
        began = time.time()
        for number in range(count):
            # Those that end do so in the middle of the look.
            length_s = 20.0 + lasts_s * (0.1 + 0.6 * number / ending) if number < ending else 7200.0
            start_operation(emulator.url, names.format(number), length_s)
        prepared_s = time.time() - began
        measured = bench.measure(replace(spec, url=emulator.url, hold_s=20.0 + lasts_s))
        journal = [entry for entry in emulator.journal() if not entry["path"].endswith("/none")]
    first = min((entry["time"] for entry in journal if entry["kind"] in {"get", "list"}), default=0.0)
    kinds: dict[str, int] = {}
    for entry in journal:
        if entry["kind"] in {"get", "list"} and first + 15.0 <= entry["time"] < first + 15.0 + lasts_s:
            kinds[entry["kind"]] = kinds.get(entry["kind"], 0) + 1
    asked = sum(kinds.values())
    if not kinds.get("list"):
        raise NotMeasured(f"nothing was listed: {kinds}")
    per_hour = asked * 3600 / lasts_s / count
    one_each = 3600 / (interval_s * 0.95)
    seen = len(measured.ended)
    return [
        Row(
            f"requests per operation and hour, batch polling, {count:,} operations under one parent",
            "≥ 100 x fewer than one get each",
            f"{one_each / per_hour:.0f} x fewer ({per_hour:.2f})",
            f"{one_each:.0f} (one get each)",
            "",
            one_each / per_hour >= 100 and seen >= ending,
            figures={
                "requests": kinds,
                "in_s": lasts_s,
                "ended": ending,
                "ends_seen": seen,
                "prepared_s": prepared_s,
            },
        )
    ]


# --- delays --------------------------------------------------------------------------------------------------


def delay(bench: Bench) -> list[Row]:
    """How late an end is seen, by the operation's length, on a moved clock."""
    figures = bench.run("tests.tooling.bench.delays", str(bench.either(200, 40)))
    words = {"5": "5 s", "60": "1 min", "600": "10 min", "3600": "1 h"}
    return [
        Row(
            "detection delay: p50 as a share of the operation's length, " + ", ".join(words.values()),
            "≤ 15 %, and ≤ 1 poke interval (30 s)",
            ", ".join(f"{one['share']:.1%}" for one in figures.values()),
            "every 30 s: " + ", ".join(f"{one['fixed_share']:.1%}" for one in figures.values()),
            "",
            all(one["share"] <= 0.15 and one["longest_s"] <= 30 for one in figures.values()),
            figures=figures,
        )
    ]


def wait(bench: Bench) -> list[Row]:
    """How late an end is seen with ``poll_with="wait"``."""
    count = bench.either(100, 40)
    names = "projects/bench/operations/w{}"
    spec = Spec(
        OURS, "", count, 10.0, names, poll_with="wait", fresh=True, warm=0, counted=False, hold_s=36.0
    )
    with EmulatorProcess() as emulator:
        began = time.time()
        for number in range(count):
            # After the candidate has started, and before it ends.
            start_operation(emulator.url, names.format(number), 30.0 + 8.0 * number / count)
        measured = bench.measure(replace(spec, url=emulator.url))
        ends = {one["name"]: one["metadata"]["endTime"] for one in emulator.operations() if one["done"]}
        waits = len(emulator.journal("wait"))
    if not waits:
        raise NotMeasured("no wait was sent")
    late = sorted(
        1000 * (at - _epoch(ends[name]))
        for name, at in measured.ended.items()
        if _epoch(ends[name]) > measured.begun
    )
    if len(late) < count / 2:
        raise NotMeasured(f"only {len(late)} of {count} ends were seen, {measured.begun - began:.0f} s after")
    middle, worst = statistics.median(late), late[int(0.95 * len(late))]
    limit = measured.round_trip_ms + 50
    return [
        Row(
            'detection delay with poll_with="wait"',
            f"≤ 1 round trip + 50 ms ({limit:.0f} ms)",
            f"p50 {middle:.0f} ms, p95 {worst:.0f} ms",
            f"{measured.round_trip_ms:.1f} ms (round trip)",
            "",
            middle <= limit,
            figures={
                "p50_ms": middle,
                "p95_ms": worst,
                "round_trip_ms": measured.round_trip_ms,
                "waits": waits,
                "seen": len(late),
                "operations": count,
            },
        )
    ]


def _epoch(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


# --- 429 -----------------------------------------------------------------------------------------------------


def storm(bench: Bench) -> list[Row]:
    """A server that allows 20 requests a second, and waits that would send ten times as many."""
    rate = 20.0
    count, lasts_s = bench.either((2_000, 240.0), (400, 60.0))
    fair_s = count / rate
    with StormServer(rate) as server:
        spec = Spec(OURS, server.url, count, 10.0, warm=0, counted=False, hold_s=lasts_s)
        measured = bench.measure(spec)
        report = ask(server.url, "GET", "/after/30")
    share = report["accepted_after"] / max(report["asked_after"], 1)
    late = report["longest_gap_s"] / fair_s
    return [
        Row(
            f"429 storm: server allows 20 requests/s, {count:,} operations",
            "≥ 90 % accepted after 30 s, none more than 2 x the fair interval late",
            f"{share:.0%} accepted, latest {late:.1f} x {fair_s:.0f} s",
            "",
            "",
            share >= 0.9 and late <= 2 and not measured.ended,
            figures={**report, "fair_interval_s": fair_s, "given_up": len(measured.ended)},
        )
    ]


# --- shared --------------------------------------------------------------------------------------------------


def _wanted(found: Measured | NotMeasured) -> Measured:
    if isinstance(found, NotMeasured):
        raise found
    return found


def _each(found: dict[str, Measured | NotMeasured], show: Callable[[Measured], str]) -> str:
    def shown() -> Iterator[str]:
        for name in PEERS:
            one = found[name]
            yield f"{name} {show(one) if isinstance(one, Measured) else 'failed'}"

    return ", ".join(shown())


def _failures(found: dict[str, Measured | NotMeasured]) -> dict[str, str]:
    return {name: str(one) for name, one in found.items() if isinstance(one, NotMeasured)}


def _profile(bench: Bench, spec: Spec) -> list[str]:
    """Measure once more and look where it goes."""
    if not bench.profile:
        return []
    bench.say(f"  the target is missed: profile of {spec.profile}")
    try:
        return bench.measure(spec).profile
    except NotMeasured as error:
        return [str(error)]


# --- parsing ---------------------------------------------------------------------------------------------------


def parse(bench: Bench) -> list[Row]:
    """Parsing a DAG of 200 tasks by ``api_method``, against 200 by ``path``, each in a process of its own."""
    kinds, rounds = ("path", "api_method", "api_methods"), bench.either(7, 3)
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            found[kind].append(bench.run("tests.tooling.bench.parsed", kind, "200"))
    cpu_ms, memory_kb = (
        {kind: statistics.median(one[key] for one in found[kind]) for kind in kinds}
        for key in ("cpu_ms", "memory_kb")
    )
    path, one, many = kinds
    return [
        Row(
            "parsing 200 tasks by api_method, against 200 by path",
            "≤ 1.5 x CPU",
            f"{cpu_ms[one] / cpu_ms[path]:.2f} x ({cpu_ms[one]:.0f} ms, {memory_kb[one] / 1024:.1f} MB); 200 methods of "
            f"many APIs: {cpu_ms[many]:.0f} ms, {memory_kb[many] / 1024:.1f} MB",
            f"by path: {cpu_ms[path]:.0f} ms, {memory_kb[path] / 1024:.1f} MB",
            "",
            cpu_ms[one] <= 1.5 * cpu_ms[path],
            figures={"cpu_ms": cpu_ms, "memory_kb": memory_kb},
        )
    ]


FIGURES: dict[str, Figure] = {
    "cpu": cpu,
    "start": start,
    "imports": imports,
    "parse": parse,
    "memory": memory,
    "list": listing,
    "delay": delay,
    "wait": wait,
    "storm": storm,
    "triggerer": triggerer,
    "tasks": tasks,
    "crowds": crowds,
}
"""In the order of the table."""

IN_BACKGROUND = ("storm", "list", "wait")
"""Take minutes and next to no CPU, so they run beside those that come after ``start``."""
