"""Who may use an engine: one holder at a time, who loses it by not renewing it."""

from dataclasses import dataclass

SECONDS = 30.0  # after which a holder that is not heard of has lost the lease


class Lost(Exception):
    """The lease is not this holder's (any more): it was silent for too long, or another took it."""


@dataclass
class Lease:
    """Times are seconds of any one monotonic clock. A token names one holder, once: it is never taken again."""

    seconds: float = SECONDS
    holder: str | None = None
    until: float = 0.0

    def free(self, now: float) -> bool:
        return self.holder is None or now >= self.until

    def take(self, token: str, now: float) -> bool:
        """Whether the lease is the token's now."""
        if self.holder != token and not self.free(now):
            return False
        self.holder, self.until = token, now + self.seconds
        return True

    def renew(self, token: str, now: float) -> None:
        """Raises Lost when it is another's, or was not renewed in time."""
        self.check(token, now)
        self.until = now + self.seconds

    def check(self, token: str, now: float) -> None:
        """Raises Lost when the token does not hold the lease."""
        if self.holder != token:
            raise Lost(f"the engine is held by {self.holder or 'nobody'}, not by {token}")
        if now >= self.until:
            raise Lost(f"{token} was silent for more than {self.seconds:g} s and lost the engine")

    def release(self, token: str) -> None:
        """Give it back; nothing happens when it is another's."""
        if self.holder == token:
            self.holder = None
