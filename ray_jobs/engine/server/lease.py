"""The lease on an engine: one holder at a time, in the order of the first requests. The actor keeps it.

Invariant: a holder that does not renew the lease in time loses it.
"""

from dataclasses import dataclass, field

LEASE_SECONDS = 30.0  # seconds of silence after which the holder has lost the lease
WAITER_SECONDS = 3.0  # seconds of silence after which a waiting driver is passed over


class LeaseLost(Exception):
    """The token does not hold the lease: it never did, it was silent for too long, or another token took the lease."""


@dataclass
class Lease:
    """Times are seconds of one monotonic clock. A token that has released the lease is revoked for good."""

    seconds: float = LEASE_SECONDS
    holder: str | None = None
    until: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict)  # token -> time of its last request, in line's order
    revoked: set[str] = field(default_factory=set)

    def is_free(self, now: float) -> bool:
        return self.holder is None or now >= self.until

    def take(self, token: str, now: float) -> bool:
        """Whether the token has the lease now. If not, the token keeps its place in line by calling again.

        Raises LeaseLost if the token has released the lease.
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
        """The first token in line whose last request is younger than WAITER_SECONDS; None if there is none."""
        return next((token for token, last in self.waiting.items() if now - last < WAITER_SECONDS), None)

    def renew(self, token: str, now: float) -> None:
        """Extend the lease. Raises LeaseLost if the token does not hold it any more."""
        self.check(token, now)
        self.until = now + self.seconds

    def check(self, token: str, now: float) -> None:
        """Raises LeaseLost if the token does not hold the lease, or did not renew it in time."""
        if self.holder != token:
            raise LeaseLost(f"the engine is held by {self.holder or 'nobody'}, not by {token}")
        if now >= self.until:
            raise LeaseLost(f"{token} was silent for more than {self.seconds:g} s and lost the engine")

    def release(self, token: str) -> None:
        """Give up the token's lease or its place in line. The lease of another token stays."""
        self.revoked.add(token)
        self.waiting.pop(token, None)
        if self.holder == token:
            self.holder = None
