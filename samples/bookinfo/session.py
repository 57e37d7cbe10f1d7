"""Session: who is logged in, in a signed cookie."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

_COOKIE = "session"
# A sample without passwords has nothing to protect; a fixed default lets several replicas read one another's cookies.
_DEFAULT_SECRET = "bookinfo"


class Session:
    """Makes and reads the cookie. Args: secret: the signing key."""

    def __init__(self, secret: str | None) -> None:
        self._key = hashlib.sha256((secret or _DEFAULT_SECRET).encode()).digest()

    def store(self, user: str) -> str:
        """The value of Set-Cookie that logs this user in."""
        payload = base64.urlsafe_b64encode(user.encode()).decode().rstrip("=")
        return f"{_COOKIE}={payload}.{self._sign(payload)}; HttpOnly; Path=/; SameSite=Lax"

    def clear(self) -> str:
        """The value of Set-Cookie that logs out."""
        return f"{_COOKIE}=; Max-Age=0; HttpOnly; Path=/; SameSite=Lax"

    def user(self, cookies: Mapping[str, str]) -> str:
        """Who is logged in; "" for nobody, and for a cookie that is not ours."""
        payload, _, signature = cookies.get(_COOKIE, "").partition(".")
        if not payload or not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            return ""
        try:
            return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""

    def _sign(self, payload: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, payload.encode(), "sha256")).decode().rstrip("=")
