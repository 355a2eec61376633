"""Signals are kept until somebody asks."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.tooling.harness.interrupts import Interrupted, Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised_at_the_next_check(number: signal.Signals) -> None:
    """Nothing is thrown where the signal comes, so no step is torn apart."""
    with Interrupts() as interrupts:
        interrupts.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted) as caught:
            interrupts.check()
    assert caught.value.number == number


def test_a_second_signal_changes_nothing() -> None:
    """An impatient second Ctrl-C doesn't cut the cleaning up short, and the first decides the exit code."""
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            interrupts.check()
    assert caught.value.number == signal.SIGTERM


def test_a_sleep_ends_early() -> None:
    """Ctrl-C is heard within a moment, also in a long pause."""
    began = time.monotonic()
    with Interrupts() as interrupts:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupted):
            interrupts.sleep(30)
    assert time.monotonic() - began < 5


def test_the_signals_are_given_back() -> None:
    """After it, Ctrl-C is a KeyboardInterrupt again."""
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
