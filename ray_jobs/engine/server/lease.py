"""Who may use an engine: one holder at a time, in the order in which they asked, who loses it by not renewing it."""

from dataclasses import dataclass, field

LEASE_SECONDS = 30.0  # after which a holder that is not heard of has lost the lease
WAITER_SECONDS = 3.0  # seconds after which one that waits and is not heard of lets the next one pass


class LeaseLost(Exception):
    """The lease is not this holder's (any more): it was silent for too long, or another took it."""


@dataclass
class Lease:
    """Times are seconds of any one monotonic clock. A token names one holder, once: given back, it is void."""

    seconds: float = LEASE_SECONDS
    holder: str | None = None
    until: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict)  # who waits, in that order, and when it last asked
    revoked: set[str] = field(default_factory=set)

    def free(self, now: float) -> bool:
        return self.holder is None or now >= self.until

    def take(self, token: str, now: float) -> bool:
        """Whether the lease is the token's now. While it is not, it keeps its place by asking again and again.

        Raises Lost for a token that was given back.
        """
        if token in self.revoked:
            raise LeaseLost(f"{token} has given the engine back")
        if self.holder != token:
            self.waiting = {one: asked for one, asked in self.waiting.items() if now - asked < self.seconds}
            self.waiting[token] = now
            if self.next(now) != token or not self.free(now):
                return False
            del self.waiting[token]
            self.holder = token
        self.until = now + self.seconds
        return True

    def next(self, now: float) -> str | None:
        """Who waits for it and is heard of, for longer than others."""
        return next((one for one, asked in self.waiting.items() if now - asked < WAITER_SECONDS), None)

    def renew(self, token: str, now: float) -> None:
        """Raises Lost when it is another's, or was not renewed in time."""
        self.check(token, now)
        self.until = now + self.seconds

    def check(self, token: str, now: float) -> None:
        """Raises Lost when the token does not hold the lease."""
        if self.holder != token:
            raise LeaseLost(f"the engine is held by {self.holder or 'nobody'}, not by {token}")
        if now >= self.until:
            raise LeaseLost(f"{token} was silent for more than {self.seconds:g} s and lost the engine")

    def release(self, token: str) -> None:
        """Give it back, or wait for it no more; nothing happens to another's."""
        self.revoked.add(token)
        self.waiting.pop(token, None)
        if self.holder == token:
            self.holder = None
