"""When the next request may go out: a window that widens while all goes well, and the waits that a server asks for."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random

START = 16
CEILING = 256
LONGEST_BACKOFF_S = 60.0
LONGEST_HOLD_S = 2 * 3600.0
_NO_HEADERS: Mapping[str, str] = {}
_LONGEST_HEADER = 100
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


class Bucket:
    """At most `per_minute` units in any sixty seconds. One take larger than the bucket is let through a full one."""

    def __init__(self, per_minute: float, now: float, *, burst: float) -> None:
        # What may leave in one minute is a full bucket and what flows into it meanwhile: together the ceiling.
        self.size = min(max(1.0, per_minute * burst), per_minute)
        self.rate = max(per_minute - self.size, per_minute / 2) / 60
        self.level = self.size
        self.at = now

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken, 0 for at once."""
        self._fill(now)
        return max(0.0, (min(amount, self.size) - self.level) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take `amount`; a negative one is given back."""
        self._fill(now)
        self.level = min(self.size, self.level - amount)

    def _fill(self, now: float) -> None:
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now


class Admission:
    """How many requests may be under way, and when: additive increase, multiplicative decrease.

    `limit` starts at 16 (or the ceiling) and doubles with each round trip until the first refusal, which
    halves it. From then on it grows by an eighth of where it was refused per round trip, and doubles again
    once it is past that. Requests sent before a cut do not cut again: they are news of the same jam.
    `hold_until` is the moment, by `clock`, before which nothing goes out. `rpm` and `tpm` are ceilings.
    """

    def __init__(
        self,
        ceiling: int = CEILING,
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        backoff_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self.ceiling = ceiling
        self.limit = float(min(START, ceiling))
        self.in_flight = 0
        self.hold_until = -math.inf
        self.cuts = 0
        self._backoff_s = backoff_s
        self._clock = clock
        self._jitter = jitter or Random().random
        self._refused_at = 0.0
        self._last_cut = -math.inf
        self._last_loss = -math.inf
        self._streak = 0
        now = clock()
        self._requests = Bucket(rpm, now, burst=1 / 60) if rpm else None
        self._tokens = Bucket(tpm, now, burst=1 / 10) if tpm else None

    def wait_s(self, tokens: float = 0.0) -> float:
        """Seconds until a request of about so many tokens may go: 0 for now, infinity until another is done."""
        if self.in_flight >= int(self.limit):
            return math.inf
        now = self._clock()
        wait = max(0.0, self.hold_until - now)
        if self._requests is not None:
            wait = max(wait, self._requests.wait_s(1, now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait_s(tokens, now))
        return wait

    def sent(self, tokens: float = 0.0) -> float:
        """Note that a request went out; its time, which the note of its end takes."""
        now = self._clock()
        self.in_flight += 1
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)
        return now

    def succeeded(self, tokens: float = 0.0, used: float = 0.0, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """A request of about `tokens` was answered and used `used`; its headers may say that nothing is left."""
        # A window that nobody fills says nothing about how much the server bears.
        is_used = 2 * self.in_flight >= self.limit
        self.in_flight -= 1
        self._streak = 0
        if self._tokens is not None and used:
            self._tokens.take(used - tokens, self._clock())
        if is_used:
            self._widen()
        if (wait := spent_for_s(headers, used)) > 0:
            self.hold(wait)

    def _widen(self) -> None:
        is_regrowing = self.limit < self._refused_at
        step = max(1.0, self._refused_at / 8) / self.limit if is_regrowing else 1.0
        self.limit = min(float(self.ceiling), self.limit + step)

    def failed(self, tokens: float = 0.0) -> None:
        """A request ended without an answer for a reason that is no sign of a jam; its tokens are not counted."""
        self.in_flight -= 1
        if self._tokens is not None:
            self._tokens.take(-tokens, self._clock())

    def refused(self, sent_at: float, tokens: float = 0.0, retry_after_s: float | None = None) -> None:
        """The server is too busy (429, 503, a timeout): halve once per round trip, and wait.

        The wait is what the server asks for, else longer with each refusal that follows another.
        """
        self.failed(tokens)
        if sent_at >= self._last_cut:
            self.cuts += 1
            self._last_cut = self._clock()
            self._refused_at = self.limit
            self.limit = max(1.0, self.limit / 2)
            if retry_after_s is None:
                self.hold(self.backoff(self._streak))
            self._streak += 1
        if retry_after_s is not None:
            self.hold(retry_after_s)

    def unreachable(self, sent_at: float, tokens: float = 0.0) -> None:
        """No connection could be made: nothing goes out for a while, longer each time."""
        self.failed(tokens)
        if sent_at >= self._last_loss:
            self._last_loss = self._clock()
            self.hold(self.backoff(self._streak))
            self._streak += 1

    def backoff(self, tries: int) -> float:
        """A random wait before try number `tries` + 1: up to twice as long each time, a minute at the most."""
        return min(LONGEST_BACKOFF_S, self._backoff_s * 2.0 ** min(tries, 30)) * self._jitter()

    def hold(self, seconds: float) -> None:
        """Let nothing out for so long."""
        self.hold_until = max(self.hold_until, self._clock() + min(seconds, LONGEST_HOLD_S))


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a server asks to wait, None if it does not say; `now` is the time since 1970, for dates.

    A date is one of the server's clock, which may differ from ours: where it tells its time, that one counts.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := duration_s(text)) is not None:
        return seconds
    until = _moment(text)
    if until is None:
        return None
    its_now = _moment(headers.get("date"))
    return max(0.0, until - (now if its_now is None else its_now))


def _moment(text: str | None) -> float | None:
    """A date of HTTP as seconds since 1970, None for what is none."""
    if text is None or len(text) > _LONGEST_HEADER:
        return None
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def spent_for_s(headers: Mapping[str, str], used: float = 0.0) -> float:
    """Seconds until a limit that is used up is filled again, 0 when none is.

    Tokens count as used up when fewer are left than the request just answered took. A reset that is hours
    away is no wait but a date, or a limit of the day, of which a 429 will tell.
    """
    wait = 0.0
    for what, least in (("requests", 0.0), ("tokens", used)):
        left = _number(headers.get(f"x-ratelimit-remaining-{what}"))
        if left is not None and (left <= 0 or left < least):
            wait = max(wait, duration_s(headers.get(f"x-ratelimit-reset-{what}", "")) or 0.0)
    return wait if wait <= LONGEST_HOLD_S else 0.0


def duration_s(text: str) -> float | None:
    """`6m0s`, `120ms`, `1h2m3.5s` or plain seconds as seconds, None for anything else."""
    text = text.strip().lower()
    if len(text) > _LONGEST_HEADER:  # looking for units in a hundred thousand digits takes minutes
        return None
    if (seconds := _number(text)) is not None:
        return seconds
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _number(text: str | None) -> float | None:
    """A finite number of at least 0, else None."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return max(value, 0.0) if math.isfinite(value) else None
