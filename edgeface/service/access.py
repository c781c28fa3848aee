"""Who may ask: the token, the cookie that stands for it, the names of this machine, and how often.

The rules, each against somebody:

- Host must be a name of this machine: a foreign name that was made to point here (DNS rebinding) is none.
- Origin, which browsers send with every POST and WebSocket, must be the page's own: other sites' pages have
  another. A program that sends none is no browser, and no page steers it.
- Sec-Fetch-Site tells of requests without Origin, such as pictures that another site embeds.
- Where the address is open to others, a token; compared in constant time, and only so often.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from edgeface.service.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeface.service.settings import ServiceSettings

__all__ = ["COOKIE", "Access", "Bucket", "Buckets"]

COOKIE = "edgeface"

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::\d{1,5})?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_MOST = 4096  # addresses that are remembered; the one that was silent for longest is forgotten


class Bucket:
    """A token bucket: `burst` at once, `rate` per second in the long run."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def left(self) -> float:
        """How many may be taken now."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left

    def take(self) -> bool:
        """Take one; False when there is none."""
        if self.left() < 1:
            return False
        self._left -= 1
        return True


class Buckets:
    """A bucket per address, of the latest addresses."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._of: OrderedDict[str, Bucket] = OrderedDict()

    def of(self, address: str) -> Bucket:
        """Return the bucket of an address."""
        bucket = self._of.pop(address, None) or Bucket(self._rate, self._burst, self._clock)
        self._of[address] = bucket
        if len(self._of) > _MOST:
            self._of.popitem(last=False)
        return bucket


class Access:
    """Decides who may ask. Belongs to the event loop.

    Args:
        settings: of the service.
        clock: seconds that only grow; tests bring their own.
    """

    def __init__(self, settings: ServiceSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = settings.token.encode()
        # The cookie proves the token without being it: whoever reads one has not the other.
        self.cookie = (
            hmac.new(self._token, b"edgeface cookie", hashlib.sha256).hexdigest() if self._token else ""
        )
        self._names = _LOOPBACK | {name.lower() for name in settings.names}
        self._any_address = not is_loopback(settings.host)
        self._requests = Buckets(settings.limits.rate, settings.limits.burst, clock)
        self._wrong = Buckets(0.2, settings.limits.wrong_tokens, clock)

    @property
    def guarded(self) -> bool:
        """Whether a token is asked for."""
        return bool(self._token)

    def may_ask(self, address: str) -> bool:
        """Whether this address has not asked too often; counts."""
        return self._requests.of(address).take()

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this machine.

        An address is believed where the service listens beyond loopback: nobody can make a browser take a
        foreign site for one.
        """
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found["name"]
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self._any_address

    def is_own(self, host: str, origin: str | None, site: str | None) -> bool:
        """Whether a request comes from the service's own page, or from no page at all."""
        if origin is not None:
            return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
        return site in (None, "same-origin", "none")

    def patient(self, address: str) -> bool:
        """Whether this address has not shown too many wrong tokens lately."""
        return self._wrong.of(address).left() >= 1

    def is_token(self, shown: str, address: str) -> bool:
        """Whether this is the token; a wrong one counts."""
        right = hmac.compare_digest(shown.encode("utf-8", "replace"), self._token)
        if not right:
            self._wrong.of(address).take()
        return right

    def is_let_in(self, authorization: str, cookies: Mapping[str, str], address: str) -> bool:
        """Whether a request shows the token or the cookie; True for everybody where no token is asked for."""
        if not self._token:
            return True
        shown = cookies.get(COOKIE, "")
        if shown and hmac.compare_digest(shown.encode("utf-8", "replace"), self.cookie.encode()):
            return True
        kind, _, token = authorization.partition(" ")
        if kind.lower() == "bearer" and token:
            return self.is_token(token.strip(), address)
        # A wrong cookie is one of an earlier token, which a page keeps showing; nobody guesses 256 bits.
        return False
