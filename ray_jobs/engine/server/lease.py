"""The lease on an engine: one holder at a time, in the order of the first requests. A holder renews it or loses it."""

from dataclasses import dataclass, field

LEASE_SECONDS = 30.0  # of silence after which the holder has lost the lease
WAITER_SECONDS = 3.0  # of silence after which a waiting driver lets the next one pass


class LeaseLost(Exception):
    """The token does not hold the lease, or no longer: it was silent for too long, or another took it."""


@dataclass
class Lease:
    """Times are seconds of one monotonic clock. A token holds the lease once: when it is given back, it is revoked."""

    seconds: float = LEASE_SECONDS
    holder: str | None = None
    until: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict)  # token -> its last request, first in line first
    revoked: set[str] = field(default_factory=set)

    def is_free(self, now: float) -> bool:
        return self.holder is None or now >= self.until

    def take(self, token: str, now: float) -> bool:
        """Whether the token has the lease now. If not, it keeps its place in line by asking again.

        Raises LeaseLost for a token that was given back.
        """
        if token in self.revoked:
            raise LeaseLost(f"{token} has given the engine back")
        if self.holder != token:
            self.waiting = {other: last for other, last in self.waiting.items() if now - last < self.seconds}
            self.waiting[token] = now
            if self.next_in_line(now) != token or not self.is_free(now):
                return False
            del self.waiting[token]
            self.holder = token
        self.until = now + self.seconds
        return True

    def next_in_line(self, now: float) -> str | None:
        """The first token in line that has asked within WAITER_SECONDS, if any."""
        return next((token for token, last in self.waiting.items() if now - last < WAITER_SECONDS), None)

    def renew(self, token: str, now: float) -> None:
        """Raises LeaseLost if another token holds it, or if it was not renewed in time."""
        self.check(token, now)
        self.until = now + self.seconds

    def check(self, token: str, now: float) -> None:
        """Raises LeaseLost if the token does not hold the lease."""
        if self.holder != token:
            raise LeaseLost(f"the engine is held by {self.holder or 'nobody'}, not by {token}")
        if now >= self.until:
            raise LeaseLost(f"{token} was silent for more than {self.seconds:g} s and lost the engine")

    def release(self, token: str) -> None:
        """Give the lease or the place in line back; the lease of another token stays."""
        self.revoked.add(token)
        self.waiting.pop(token, None)
        if self.holder == token:
            self.holder = None
