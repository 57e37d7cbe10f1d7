"""Identity keeper: sees to it that the proxy has a certificate, and has the next one before it needs it.

`Renewal` says when, `identity.verify` what is good; this shell asks the CA (grpcio waits in a worker thread of trio's, for it
knows no trio), keeps the answer on disk and hands it to the data plane. The roots' file is looked at again and again, for
the kubelet replaces it when the mesh's roots change.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import trio

from mesh.model.secret import TlsCertificate
from mesh.proxy.certificate_request import CertificateRequest, RequestFailed, request_from_child
from mesh.proxy.control_plane import ControlPlane, NotThereYet, is_refusal, reason_of
from mesh.proxy.identity import Identity, IdentityError, Workload, service_account_of, verify
from mesh.proxy.identity_file import load, save
from mesh.proxy.renewal import Renewal
from mesh.xds.certificate_service import PATH, CertificateResponse, decode_response, encode_request
from mesh.xds.certificate_service import CertificateRequest as Question
from mesh.xds.error import ProtocolError

_log = logging.getLogger(__name__)
_CALL_SECONDS = 10.0
_LOOK_SECONDS = 15.0
"""How often the roots are read; and a wall clock that was set or stood still is noticed as soon as that."""
_OPTIONS = (("grpc.enable_http_proxy", 0),)


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """control_plane: with roots and token. service_account "": the token says whose it is. file None: nothing on disk."""

    control_plane: ControlPlane
    namespace: str
    service_account: str = ""
    file: Path | None = None


class IdentityKeeper:
    """`run` it once, on the trio thread; publish is called there whenever there is a better identity.

    identity: what was published last. requests, failures: how many certificates were asked for, and did not come; only grow.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        publish: Callable[[Identity], None],
        make_request: Callable[[], Awaitable[CertificateRequest]] = request_from_child,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Args: now: seconds since the epoch."""
        self._settings = settings
        self._publish = publish
        self._make_request = make_request
        self._now = now
        self._renewal = Renewal(random.random)
        self._last_problem = ""
        self._restored = False
        self._request: CertificateRequest | None = None
        self.identity: Identity | None = None
        self.requests = 0
        self.failures = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._look()
            await trio.sleep(min(self._renewal.wait_seconds(self._now()), _LOOK_SECONDS))

    async def _look(self) -> None:
        try:
            roots = self._settings.control_plane.read_roots()
            workload = self._workload()
            if not self._restored:
                self._restored = True
                self._restore(roots, workload)
            elif self.identity is not None and self.identity.roots_pem != roots:
                self._change_roots(self.identity, roots, workload)
            if self._renewal.wait_seconds(self._now()) > 0.0:
                return
            self._renewal.begin()
            self.requests += 1
            identity = await self._ask(workload)
        except (NotThereYet, RequestFailed, IdentityError, ProtocolError, grpc.RpcError) as exc:
            self._note_failure(exc)
        except Exception as exc:
            # The boundary of a task that must not end: without it the certificate would run out.
            _log.exception("asking for a certificate")
            self._note_failure(exc)
        else:
            # From now on, not from its notBefore: a CA dates back for late clocks, by more than a short life may have left.
            self._renewal.hold(self._now(), identity.not_after)
            self._last_problem = ""
            _log.info("certificate of %s is good for %.0f s", identity.principal, identity.not_after - self._now())
            self._take(identity)
            self._save(identity)

    async def _ask(self, workload: Workload) -> Identity:
        # A request that was not answered serves the next attempt, too: a CA that is away costs no keys.
        made = self._request or await self._make_request()
        self._request = made
        answer = await trio.to_thread.run_sync(self._call, made.csr_pem, abandon_on_cancel=True)
        certificate = TlsCertificate(answer.chain_pem.encode(), made.key_pem)
        plane = self._settings.control_plane
        self._request = None
        try:
            return verify(certificate, plane.read_roots(), workload)
        except IdentityError as exc:
            raise IdentityError(
                f"the certificate from {plane.address} is not used: {exc} (roots: {plane.roots})"
            ) from exc

    def _call(self, csr_pem: str) -> CertificateResponse:
        # Blocks, in a worker thread.
        plane = self._settings.control_plane
        with plane.open_channel(_OPTIONS) as channel:
            method = channel.unary_unary(PATH, None, None)  # type: ignore[arg-type]
            answer = method(
                encode_request(Question(csr_pem)),
                timeout=_CALL_SECONDS,
                metadata=plane.credentials(),
                wait_for_ready=False,
            )
        return decode_response(answer)

    def _workload(self) -> Workload:
        settings = self._settings
        account = settings.service_account
        if not account:
            ((_, bearer),) = settings.control_plane.credentials()
            account = service_account_of(bearer.removeprefix("Bearer ").encode())
            if not account:
                raise IdentityError(f"{settings.control_plane.token} does not say whose token it is (claim sub)")
        return Workload(settings.namespace, account)

    def _restore(self, roots: bytes, workload: Workload) -> None:
        file = self._settings.file
        if file is None:
            return
        try:
            identity = load(file, roots, workload)
        except (IdentityError, OSError) as exc:
            _log.warning("%s is not used: %s", file, exc)
            return
        if identity is not None:
            _log.info("going on with the certificate of %s", file)
            self._renewal.hold(identity.not_before, identity.not_after)
            self._take(identity)

    def _change_roots(self, identity: Identity, roots: bytes, workload: Workload) -> None:
        try:
            changed = verify(identity.certificate, roots, workload)
        except IdentityError as exc:
            # Peers that have the new roots already will not take our certificate. What we have serves the others meanwhile.
            if self._renewal.wait_seconds(self._now()) > _LOOK_SECONDS:
                _log.warning("the mesh has other roots, and our certificate is not of them (%s): asking for another", exc)
                self._renewal.hurry(self._now())
            return
        _log.info("the mesh's roots have changed")
        self._take(changed)

    def _take(self, identity: Identity) -> None:
        self.identity = identity
        self._publish(identity)

    def _save(self, identity: Identity) -> None:
        file = self._settings.file
        if file is None:
            return
        try:
            save(file, identity)
        except OSError as exc:
            _log.warning("%s cannot be written: %s", file, exc)

    def _note_failure(self, error: Exception) -> None:
        pause = self._renewal.failed(self._now())
        self.failures += 1
        problem = reason_of(error) if isinstance(error, grpc.RpcError) else str(error)
        # Said once: what follows is the same every few seconds, until somebody does something about it.
        level = logging.DEBUG if problem == self._last_problem else logging.WARNING
        self._last_problem = problem
        left = "there is none yet"
        if self.identity is not None and math.isfinite(self.identity.not_after):
            left = f"the present one is good for {max(0.0, self.identity.not_after - self._now()):.0f} s"
        where = self._settings.control_plane.address
        if isinstance(error, grpc.RpcError) and is_refusal(error):
            problem = f"{where} refuses: {problem}"
        _log.log(level, "no certificate (%s): %s; next attempt in %.1f s", left, problem, pause)
