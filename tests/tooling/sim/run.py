"""
Search for schedules that break a promise: ``python -m tests.tooling.sim.run [--schedules N] [--seed S] [--short] [--random]``.

First every fault at every hand-over, then several at random. The exit code is 0 only if nothing was broken;
``--plan`` plays again what a violation has printed, and shows all that happened.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import secrets
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from .schedule import play
from .search import mixed, shrunk, singles
from .world import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEDULES = 20_000
SHORT_SCHEDULES = 1_000
SHORT_EVERY = 10
SHOWN = 5


def search(plans: Iterable[Plan]) -> int:
    """Play plans; print how fast that went and what was broken, and return how many were."""
    clock = time.perf_counter
    began, broken, played = clock(), [], 0
    exceptions: Counter[str] = Counter()
    for plan in plans:
        seen = play(plan)
        played += 1
        exceptions.update(seen.exceptions)
        if seen.violations:
            broken.append(plan)
            print(f"{plan}: {'; '.join(seen.violations)}", flush=True)
            if len(broken) <= SHOWN:
                print(play(shrunk(plan)))
    spent_s = clock() - began
    print(
        f"{played} schedules in {spent_s:.0f} s, {played / spent_s:.0f} a second; violations: {len(broken)}"
    )
    for name, count in exceptions.most_common():
        print(f"  {count:6} excused: {name}")
    return len(broken)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, help="so many at random")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 30))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--random", action="store_true", help="only at random")
    parser.add_argument("--plan", help="as a violation has printed it")
    options = parser.parse_args()
    if options.plan:
        seen = play(eval(options.plan, {"Plan": Plan}))
        print(seen)
        return bool(seen.violations)
    count = options.schedules or (SHORT_SCHEDULES if options.short else SCHEDULES)
    print(f"seed {options.seed}", flush=True)
    play(Plan("deferred", 0))  # what is imported late
    gc.collect()
    gc.freeze()  # Airflow itself needn't be looked through again and again
    found = 0 if options.random else search(singles(options.seed, SHORT_EVERY if options.short else 1))
    found += search(itertools.islice(mixed(options.seed), count))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
