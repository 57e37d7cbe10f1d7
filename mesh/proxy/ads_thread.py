"""ADS thread: the one gRPC stream to the control plane, in a thread, because grpcio knows no trio.

`AdsClient` decides; this shell moves its bytes, publishes snapshots on the trio thread, and reconnects for ever with a
jittered, growing pause. A control plane that is gone changes nothing about what is served. Roots and token are read at every connect.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import trio

from mesh.proxy.control_plane import ControlPlane, NotThereYet, is_refusal, reason_of
from mesh.xds.ads_client import AdsClient, Update
from mesh.xds.error import ProtocolError
from mesh.xds.state_file import StateError

_log = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 0.2
_MAX_PAUSE_SECONDS = 15.0
# Envoy's initial_fetch_timeout: after this a proxy starts with what it has.
_INITIAL_FETCH_SECONDS = 15.0
_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.enable_http_proxy", 0),
    # Reconnecting is this module's business: one attempt per call, not gRPC's own two-minute back-off in between.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class AdsThread:
    """Concurrency: `start` and `close` from the trio thread; `publish` is called there, too.

    publish: puts an update to use; returns the names of resources -> why they cannot be used: they are NACKed.

    connected: a stream is open and has answered. streams: how many were opened.
    """

    def __init__(
        self, client: AdsClient, plane: ControlPlane, publish: Callable[[Update], Mapping[str, str]], state: Path | None = None
    ) -> None:
        """Args: state: file that holds the last configuration, for a start without a control plane; None: no file."""
        self._state = state
        self._client = client
        self._plane = plane
        self._target = str(plane.address)
        self._said = ""
        self._publish = publish
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ads", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._call: Any = None
        self._problems: Mapping[str, str] = {}
        self.connected = False
        self.streams = 0

    def start(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._thread.start()

    def close(self) -> None:
        """Ask the thread to end; it is a daemon and need not be joined."""
        self._closing.set()
        call = self._call
        if call is not None:
            call.cancel()

    def join(self) -> None:
        """Wait for the end that `close` asked for. Blocks: not on the trio thread."""
        self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        try:
            self._restore()
        except trio.RunFinishedError:
            return
        while not self._closing.is_set():
            answered = False
            try:
                answered = self._stream()
            except trio.RunFinishedError:
                return
            except NotThereYet as exc:
                self._warn_once(str(exc))
            except Exception:
                # The thread's boundary: a bug in one response must not end the proxy's updates for ever.
                _log.exception("ADS stream to %s", self._target)
            self.connected = False
            pause = _FIRST_PAUSE_SECONDS if answered else min(pause * 2, _MAX_PAUSE_SECONDS)
            self._closing.wait(pause * random.uniform(0.5, 1.5))

    def _stream(self) -> bool:
        # One stream to its end. Returns: whether it ever answered.
        outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        answered = False
        self.streams += 1
        with self._plane.open_channel(_OPTIONS) as channel:
            # Bytes both ways: no (de)serializer.
            method = channel.stream_stream(self._client.method, None, None)  # type: ignore[arg-type]
            call: Any = method(iter(outgoing.get, None), metadata=self._plane.credentials())
            self._call = call
            timer = threading.Timer(_INITIAL_FETCH_SECONDS, self._give_up, (outgoing,))
            timer.daemon = True
            try:
                with self._lock:
                    for request in self._client.on_open():
                        outgoing.put(request)
                    if not self._client.complete:
                        timer.start()
                for data in call:
                    answered = self.connected = True
                    self._said = ""
                    with self._lock:
                        update = self._client.on_response(data)
                        self._handle(update, outgoing)
                        if update.snapshot is not None:
                            self._save()
            except grpc.RpcError as exc:
                if self._closing.is_set():
                    return answered
                if is_refusal(exc):
                    self._warn_once(f"ADS stream refused by {self._target}: {reason_of(exc)}")
                else:
                    _log.warning("ADS stream to %s ended: %s", self._target, reason_of(exc))
            except ProtocolError as exc:
                _log.error("ADS stream to %s: %s", self._target, exc)
                call.cancel()
            finally:
                timer.cancel()
                outgoing.put(None)
                self._call = None
                with self._lock:
                    self._client.on_close()
        return answered

    def _warn_once(self, text: str) -> None:
        # The same, every few seconds, until somebody does something about it.
        _log.log(logging.DEBUG if text == self._said else logging.WARNING, "%s", text)
        self._said = text

    def _restore(self) -> None:
        if self._state is None or not self._state.exists():
            return
        try:
            update = self._client.restore(self._state.read_bytes())
        except (OSError, StateError) as exc:
            _log.warning("%s is not used: %s", self._state, exc)
            return
        _log.info("starting with the configuration of %s", self._state)
        self._handle(update, queue.SimpleQueue())

    def _save(self) -> None:
        if self._state is None or not self._client.complete:
            return
        new = self._state.with_suffix(".new")
        try:
            new.unlink(missing_ok=True)
            new.touch(mode=0o600)  # what a pod may reach is nobody else's business
            new.write_bytes(self._client.dump())
            new.replace(self._state)
        except OSError as exc:
            _log.warning("%s cannot be written: %s", self._state, exc)

    def _give_up(self, outgoing: queue.SimpleQueue[bytes | None]) -> None:
        with self._lock:
            if not self._client.complete:
                missing = sorted(f"{kind.label} {name}" for kind, name in self._client.missing)
                _log.warning("going on without %s", ", ".join(missing) or "an answer")
                self._handle(self._client.give_up_waiting(), outgoing)

    def _handle(self, update: Update, outgoing: queue.SimpleQueue[bytes | None]) -> None:
        for error in update.rejected:
            _log.error("rejected %s", error)
        if update.snapshot is not None or update.complete:
            problems = trio.from_thread.run_sync(self._publish, update, trio_token=self._token)
            if update.snapshot is not None:
                self._problems = problems
        # ACKed only now: "accepted" means that it is in use.
        for request in self._client.on_applied(update, self._problems):
            outgoing.put(request)
