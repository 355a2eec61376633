"""How requests of one connection follow each other; time is virtual."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from airflow_provider_operations.hooks._rate_limit import AdaptiveRateLimiter
from tests.support.virtual_loop import run


async def times_of_turns(pace: AdaptiveRateLimiter, count: int) -> list[tuple[int, float]]:
    """Let so many come at once; return who went when."""
    loop = asyncio.get_running_loop()
    went: list[tuple[int, float]] = []

    async def one(number: int) -> None:
        await pace.turn()
        went.append((number, loop.time()))

    await asyncio.gather(*(one(number) for number in range(count)))
    return went


def test_without_a_limit_everybody_goes_at_once() -> None:
    """Without a limit everybody goes at once."""
    assert run(times_of_turns(AdaptiveRateLimiter(), 3)) == [(0, 0.0), (1, 0.0), (2, 0.0)]


def test_with_a_limit_they_go_in_order_and_evenly() -> None:
    """With one they go in the order in which they came, evenly."""
    went = run(times_of_turns(AdaptiveRateLimiter(10), 5))
    assert [number for number, _ in went] == [0, 1, 2, 3, 4]
    assert [at for _, at in went] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_who_was_refused_goes_first() -> None:
    """Who was refused goes before those who wait."""

    async def play() -> list[str]:
        pace, went = AdaptiveRateLimiter(1), []

        async def one(name: str, *, first: bool = False) -> None:
            await pace.turn(first=first)
            went.append(name)

        tasks = [asyncio.create_task(one(name)) for name in "abc"]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(one("refused", first=True)))
        await asyncio.gather(*tasks)
        return went

    assert run(play()) == ["a", "refused", "b", "c"]


def test_who_left_takes_no_turn() -> None:
    """A trigger that was cancelled while it waited costs the others nothing."""

    async def play() -> float:
        pace = AdaptiveRateLimiter(1)
        await pace.turn()
        gone = [asyncio.create_task(pace.turn()) for _ in range(10)]
        last = asyncio.create_task(pace.turn())
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await last
        return asyncio.get_running_loop().time()

    assert run(play()) == pytest.approx(1.0)


@dataclass
class Server:
    """A server that allows so many requests a second (a token bucket), and counts."""

    per_s: float
    tokens: float = 0.0
    at_s: float = 0.0
    answers: list[tuple[float, bool]] = field(default_factory=list)

    def allows(self, now: float) -> bool:
        self.tokens = min(self.tokens + (now - self.at_s) * self.per_s, self.per_s)
        self.at_s = now
        allowed = self.tokens >= 1
        self.tokens -= allowed
        self.answers.append((now, allowed))
        return allowed


async def storm(
    pace: AdaptiveRateLimiter, server: Server, operations: int, until_s: float
) -> dict[int, list[float]]:
    """Poll so many operations every 10 s; return when each was answered."""
    loop = asyncio.get_running_loop()
    answered: dict[int, list[float]] = {number: [] for number in range(operations)}
    chance = random.Random(1)

    async def watch(number: int) -> None:
        refused = False
        await asyncio.sleep(10 * chance.random())
        while loop.time() < until_s:
            await pace.turn(first=refused)
            await asyncio.sleep(0.02)
            refused = not server.allows(loop.time())
            if refused:
                pace.refused()
            else:
                pace.accepted()
                answered[number].append(loop.time())
            await asyncio.sleep(10 * (1 - 0.1 * chance.random()))

    await asyncio.gather(*(watch(number) for number in answered))
    return answered


def test_two_thousand_operations_come_down_to_the_servers_rate() -> None:
    """Where a server allows 20 a second, 2,000 operations come down to that together, and none starves."""
    server = Server(20)
    answered = run(storm(AdaptiveRateLimiter(), server, 2000, 600))
    later = [allowed for at, allowed in server.answers if 30 <= at <= 600]
    assert sum(later) / len(later) > 0.9
    assert sum(later) > 0.85 * 20 * 570  # what is allowed is made use of
    fair_s = 2000 / 20
    gaps = [b - a for times in answered.values() for a, b in zip([0.0, *times], times, strict=False)]
    assert max(gaps) < 2 * fair_s


def test_the_pace_recovers_within_minutes() -> None:
    """When the server allows everything again, so does the pace, within some minutes."""
    server = Server(20)

    async def play() -> float | None:
        pace = AdaptiveRateLimiter()
        task = asyncio.create_task(storm(pace, server, 500, 400))
        await asyncio.sleep(60)
        slowed = pace.rate_per_s
        server.per_s = 1e6
        await task
        return slowed if pace.rate_per_s is None else -1.0

    assert 10 < run(play()) < 30


def test_never_above_the_users_limit() -> None:
    """What the user allows is never exceeded, however willing the server."""
    server = Server(1e6)
    pace = AdaptiveRateLimiter(50)
    run(storm(pace, server, 1000, 60))
    assert pace.rate_per_s == 50
    seconds = [sum(1 for at, _ in server.answers if second <= at < second + 1) for second in range(60)]
    assert max(seconds) <= 56  # a late timer is made up for, by a tenth of a second at most
