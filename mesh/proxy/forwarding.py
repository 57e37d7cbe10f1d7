# cython: language_level=3
"""Forwarding: one request on its way upstream and its response on the way back, in steps that wait for nothing.

States: *new* -> `begin`: *sent* -> `_on_response`: *answered* -> `_answer_deferred`: *over*. The plain request (no
body, a pooled connection, an answer that arrives in one piece) goes all the way inside the poller's callbacks: a task
switch costs more than all decisions together. Whatever is not plain wakes the connection's task at the step reached, and
`attempts` goes on from there with the very same steps. The decisions are those of route, balance, retry and observe.

What callbacks send is sent at the end of the poller's batch: waking a sleeping peer costs more than all of a request's
own work, and one wake-up serves the whole batch.
"""

from __future__ import annotations

import random

import cython

from mesh.codec.events import Framing as HeadFraming
from mesh.codec.events import ProtocolError
from mesh.model.failure import Failure, Flag
from mesh.proxy.balance.hash_key import HashKey
from mesh.proxy.compiled_route import Share
from mesh.proxy.cors import RESPONSE_NAMES as CORS_NAMES
from mesh.proxy.edits import NO_EDITS
from mesh.proxy.failures import DownstreamGone
from mesh.proxy.outlier import judged_status
from mesh.proxy.poller import SMALL_READ
from mesh.proxy.retry import is_idempotent
from mesh.proxy.transfer import NO_UPLOAD, Framing, Upload
from mesh.proxy.unprocessed import HEADER as UNPROCESSED
from mesh.proxy.unprocessed import MAX_MOVES

if not cython.compiled:  # when compiled, forwarding.pxd cimports these names
    from mesh.codec.h1 import RequestHead, ResponseHead, ResponseParser, encode_request, encode_response
    from mesh.proxy.balance.host import Host
    from mesh.proxy.clusters import ClusterRuntime
    from mesh.proxy.compiled_route import CompiledRoute
    from mesh.proxy.forwarded import forwarded_lines
    from mesh.proxy.observe.record import Record
    from mesh.proxy.seat import Seat
    from mesh.proxy.upstream_h1 import UpstreamConnection

_random = random.random
# Of the proxy before us: every hop says how long its own upstream took.
_SERVICE_TIME = (b"x-envoy-upstream-service-time",)
_RAW = Framing.RAW
_KEEP_FRAMING, _NO_FRAMING, _CHUNKED = int(HeadFraming.KEEP), int(HeadFraming.NONE), int(HeadFraming.CHUNKED)


class Forwarding:
    """One request on its way upstream, over as many attempts as it takes.

    Holds what has to be given back: the cluster's request slot from `enter` to `leave`, the host's active count and
    a connection while `host` and `connection` are set.
    unsent, out: what the kernel has not taken yet, of the request's and of the response's head.
    now: when the step that is being taken began.
    """

    down: Seat
    record: Record
    head: RequestHead
    route: CompiledRoute
    share: Share
    cluster: ClusterRuntime
    host: Host | None
    connection: UpstreamConnection | None
    response: ResponseHead | None
    upload: Upload
    framing: Framing
    unsent: bytes
    out: bytes
    now: float
    needs_fresh: bool
    _keep: bool
    _is_inside: bool
    _is_retrying: bool
    _moves: int
    _hash_key: HashKey | None
    _tried: tuple[Host, ...]

    def __init__(
        self,
        down: Seat,
        record: Record,
        head: RequestHead,
        route: CompiledRoute,
        share: Share,
        cluster: ClusterRuntime,
        now: cython.double,
    ) -> None:
        self.down = down
        self.record = record
        self.head = head
        self.route = route
        self.share = share
        self.cluster = cluster
        self.now = now
        self.upload = Upload(down.channel, down.parser) if head.has_body else NO_UPLOAD
        self.host = None
        self.connection = None
        self.response = None
        self.unsent = self.out = b""
        self.framing = _RAW
        self._hash_key = None
        self._tried = ()
        self._moves = 0
        self._keep = self.needs_fresh = self._is_retrying = self._is_inside = False

    def begin(self) -> bool:
        """Send the request on a pooled connection. Returns: callbacks will do the rest, as long as nothing must wait.

        Otherwise (False) `attempts` goes on from whatever was reached. A body goes along when it has arrived whole.
        """
        if not self.enter():
            return False
        host: Host | None = self.pick()
        if host is None:
            return False
        connection: UpstreamConnection | None = self.cluster.take(host, self.now)
        if connection is None:
            return False
        self.use(connection, host)
        if self.head.has_body and not self._take_body():
            return False
        connection.channel.on_idle = self._on_response
        self.down.poller.after_batch.append(self._send_deferred)
        return True

    def abandon(self) -> None:
        """The exchange ends here, unanswered. Idempotent."""
        self.give_up_connection()
        self.leave()

    def enter(self) -> bool:
        """Take the cluster's request slot and start the clock. Idempotent. False: the circuit breaker is open."""
        if self._is_inside:
            return True
        if not self.cluster.breaker.try_request():
            return False
        self._is_inside = True
        route, down = self.route, self.down
        idle_seconds = route.idle_timeout_seconds
        if idle_seconds is not None:
            if idle_seconds:
                down.idle.arm(self.now + idle_seconds)
            else:
                down.idle.lift()
        seconds: cython.double = route.timeout_seconds
        if seconds:
            down.timeout.arm(self.now + seconds)
        if route.hash is not None:
            self._hash_key = route.hash.of(self.head, self.record.connection.ip.decode(), random.getrandbits)
        if route.mirrors and not self.head.has_body:
            self.mirror(b"")
        return True

    def leave(self) -> None:
        """Give the request slot back. Idempotent."""
        if self._is_inside:
            self._is_inside = False
            self.cluster.breaker.end_request()
            if self._is_retrying:
                self.cluster.breaker.end_retry()

    def pick(self) -> Host | None:
        """Begin an attempt: choose its host. None: there is none."""
        key = self._hash_key
        host: Host | None = self.cluster.pick(
            self.now, key.value if key is not None else None, self._tried, self.down.destination
        )
        if host is not None:
            self._take_host(host)
            self.record.attempts += 1
        return host

    def _take_host(self, host: Host) -> None:
        self.host = host
        host.active += 1
        self.record.host = host

    def use(self, connection: UpstreamConnection, host: Host) -> None:
        """The attempt goes over this connection: encode the head into `unsent`."""
        self.connection = connection
        connection.channel.parker = self.down.parker
        self.unsent = self._encode_head(connection, host)

    def give_up_connection(self) -> None:
        """End of an attempt that does not leave its connection fit for the next one. Idempotent."""
        host, connection = self.host, self.connection
        if host is None:
            return
        self.host = None
        host.active -= 1
        if connection is not None:
            self.connection = None
            connection.channel.on_idle = None
            self.cluster.discard(host, connection)

    def mirror(self, body: bytes | None) -> None:
        down = self.down
        down.proxy.mirrors.start(down.terminal, self.route, self.record, self.head, body)

    def may_repeat(self, failure: Failure) -> bool:
        """The attempt met a dead pooled connection, and may be made again outside of the retry policy."""
        if not self.upload.can_replay or failure.flag is not Flag.UPSTREAM_CONNECTION_TERMINATION:
            return False
        if not (failure.surely_unprocessed or is_idempotent(self.head)):
            return False
        self.upload.restart()
        return True

    def may_retry(self) -> bool:
        """The cluster's retry budget has room."""
        if not self._is_retrying:
            self._is_retrying = self.cluster.breaker.try_retry()
        return self._is_retrying

    def next_attempt(self, tried: Host) -> None:
        """Forget the attempt that failed on that host."""
        self.response = None
        self.needs_fresh = False
        if self.route.retry is not None and self.route.retry.excludes_tried_hosts:
            self._tried = (*self._tried, tried)
        self.upload.restart()

    def is_unprocessed(self, response: ResponseHead) -> bool:
        """The proxy at the other end says that its application has not seen the request."""
        return (response.status == 503 or self.record.is_grpc) and response.get(UNPROCESSED) is not None

    def move(self, response: ResponseHead) -> bool:
        """Take a request that was not processed to a host not yet tried. Returns: that is the attempt now.

        Outside of the retry policy and not one of its attempts, but within the retry budget.
        """
        failed = self.host
        assert failed is not None
        if self.down.terminal.is_inbound or not failed.endpoint.is_meshed:
            return False  # the application's own header, or a stranger's
        if not self.upload.can_replay or self._moves == MAX_MOVES:
            return False
        tried = (*self._tried, failed)
        key = self._hash_key
        self.now = self.down.deadlines.now()
        other = self.cluster.pick(self.now, key.value if key is not None else None, tried, self.down.destination)
        if other is None or other in tried or not self.may_retry():
            return False
        self.cluster.on_response(failed, self.status_of(response), self.now)
        self.give_up_connection()
        self.next_attempt(failed)
        self._tried = tried
        self._moves += 1
        self._take_host(other)
        return True

    def pause_after(self, response: ResponseHead) -> float | None:
        """Seconds before the next attempt; None: this response is the answer."""
        retry = self.route.retry
        if retry is None or (response.status < 400 and not self.record.is_grpc) or not self.upload.can_replay:
            return None
        seconds: float | None = retry.after_response(response.status, response, self.record.attempts, _random)
        return seconds

    def _take_body(self) -> bool:
        # Append the whole body to the head, if it is there. It was read with one call, so it is short enough to be kept.
        if self.route.mirrors:
            return False
        body: bytes | None = self.down.parser.whole_body()
        if body is None:
            return False
        self.upload.take_whole(body, self.now)
        self.unsent += body
        return True

    def _encode_head(self, connection: UpstreamConnection, host: Host) -> bytes:
        record: Record = self.record
        head: RequestHead = self.head
        route, share, endpoint = self.route, self.share, host.endpoint
        terminal, observer = self.down.terminal, self.down.observer
        record.upstream_local = connection.local_address
        record.upstream_security = connection.security
        if not record.upstream_started_at:
            record.upstream_started_at = self.now
        remove, lines = forwarded_lines(record, terminal.manager)
        remove += observer.removals(record)
        lines += observer.lines(record)
        edits = share.request_edits
        if edits is not NO_EDITS:
            remove += edits.remove
            lines += edits.lines(record)
        if endpoint.is_meshed and not terminal.is_inbound:
            lines += b"x-envoy-attempt-count: %d\r\n" % record.attempts
        target = route.rewritten_target(head)
        if target is not None:
            record.upstream_path = target
        authority = route.host_rewrite
        if route.auto_host_rewrite and endpoint.host_name:
            authority = endpoint.host_name.encode()
        upgrade: cython.bint = head.upgrade != b"" and head.upgrade != b"h2c"
        return encode_request(head, target, authority, remove, lines, upgrade)

    def _send_deferred(self) -> None:
        connection: UpstreamConnection | None = self.connection
        assert connection is not None
        try:
            sent: cython.Py_ssize_t = connection.channel.try_send(self.unsent)
        except OSError:
            # Dead before it had a byte of the request: as if it had not been in the pool.
            self.give_up_connection()
            self.record.attempts -= 1
            self.unsent = b""
            self.upload.restart()
            self._resume()
            return
        except Exception as exc:
            self._fail(exc)
            return
        if sent == len(self.unsent):
            self.unsent = b""
        else:
            self.unsent = self.unsent[max(sent, 0) :]
            self._resume()

    def _on_response(self) -> None:
        # The poller's callback for the upstream connection, while the client's task is parked.
        down: Seat = self.down
        connection: UpstreamConnection | None = self.connection
        assert connection is not None
        try:
            data: bytes | None = connection.channel.try_recv(SMALL_READ)
            if data is None:
                return
            if not data:
                self._resume()
                return
            parser: ResponseParser = connection.parser
            parser.feed(data)
            response: ResponseHead | None = parser.head(self.head.method)
            if response is None:
                self._resume()
                return
            self.response = response
            if (
                response.is_interim
                or response.status == 101
                or self.pause_after(response) is not None
                or self.is_unprocessed(response)
            ):
                self._resume()
                return
            self.start_response(connection, response)
            if self.framing is _RAW:
                down.poller.after_batch.append(self._answer_deferred)
            else:
                self._resume()
        except (OSError, ProtocolError):
            self._resume()  # the task meets the same error, and knows what to do about it
        except Exception as exc:
            self._fail(exc)

    def _answer_deferred(self) -> None:
        down: Seat = self.down
        connection, response = self.connection, self.response
        assert connection is not None and response is not None
        try:
            if self.flush(connection):
                down.after_exchange(self.finish(connection, response), self.now)
            else:
                self._resume()
        except DownstreamGone:
            self._resume()
        except Exception as exc:
            self._fail(exc)

    def _resume(self) -> None:
        # Both connections are the task's from here on: events that come before it runs wait for it.
        if self.connection is not None:
            self.connection.channel.on_idle = None
        self.down.resume()

    def _fail(self, error: Exception) -> None:
        self._resume()
        self.down.fail(error)

    def start_response(self, connection: UpstreamConnection, response: ResponseHead) -> None:
        """Decide framing and persistence, and encode the head into `out`: from here on nothing can be repeated."""
        down: Seat = self.down
        record: Record = self.record
        head: RequestHead = self.head
        now: cython.double = down.deadlines.now()
        self.now = now
        record.response = response
        record.response_started_at = now
        record.status = response.status
        record.details = "via_upstream"
        assert self.host is not None
        self.cluster.on_response(self.host, self.status_of(response), now)
        upload = self.upload
        record.request_done_at = upload.done_at
        keep: cython.bint = (
            head.keep_alive and not down.must_close and (upload.is_done or upload.is_read) and not down.is_draining()
        )
        head_framing: cython.int = _KEEP_FRAMING
        if response.is_until_close:
            if head.minor:
                self.framing, head_framing = Framing.CHUNKS, _CHUNKED
            else:
                keep = False
        elif not head.minor and response.is_chunked and response.has_body:
            self.framing, head_framing, keep = Framing.DATA, _NO_FRAMING, False
        self._keep = keep
        remove, lines = self.response_lines(response)
        option: bytes = b"close" if not keep else (b"" if head.minor else b"keep-alive")
        self.out = encode_response(response, remove, lines, False, option, head_framing)
        down.has_started = True

    def status_of(self, response: ResponseHead) -> int:
        """The status that says how the upstream did: gRPC's own, where the head has it (Envoy judges hosts so)."""
        return judged_status(response.status, response) if self.record.is_grpc else response.status

    def response_lines(self, response: ResponseHead) -> tuple[tuple[bytes, ...], bytes]:
        """Names to leave out of the response's head, and lines to append."""
        record: Record = self.record
        lines: bytes = self._hash_key.set_cookie if self._hash_key is not None else b""
        remove: tuple[bytes, ...] = _SERVICE_TIME
        if self.is_unprocessed(response):
            remove += (UNPROCESSED,)
        if self.upload.is_done:
            milliseconds: cython.int = record.service_milliseconds()
            lines += b"x-envoy-upstream-service-time: %d\r\n" % milliseconds
        edits = self.share.response_edits
        if edits is not NO_EDITS:
            remove += edits.remove
            lines += edits.lines(record)
        cors = self.route.cors
        if cors is not None and (allowed := cors.response_lines(self.head)):
            remove += CORS_NAMES
            lines += allowed
        return remove, lines

    def flush(self, connection: UpstreamConnection) -> bool:
        """Send the response with one call, if its body is all there. True: that was all of it. Raises: DownstreamGone."""
        body: bytes | None = connection.parser.whole_body()
        if body is None:
            return False
        out: bytes = self.out + body
        self.record.bytes_sent = len(body)
        try:
            sent: cython.Py_ssize_t = self.down.channel.try_send(out)
        except OSError as exc:
            raise DownstreamGone(str(exc)) from exc
        if sent == len(out):
            return True
        self.out = out[max(sent, 0) :]
        return False

    def finish(self, connection: UpstreamConnection, response: ResponseHead) -> bool:
        """The response is out. Returns: the client's connection can serve another request."""
        record: Record = self.record
        parser: ResponseParser = connection.parser
        upload = self.upload
        host: Host | None = self.host
        assert host is not None
        if response.is_chunked:
            record.trailers = parser.trailers
        record.bytes_received = upload.received
        self.connection = self.host = None
        host.active -= 1
        if response.keep_alive and upload.is_done and not upload.is_broken and not parser.buffered:
            parser.next()
            keep_alive = response.get(b"keep-alive")
            if keep_alive is not None:
                connection.learn_idle_limit(keep_alive, self.now)
            self.cluster.release(host, connection, self.now)
        else:
            connection.channel.on_idle = None
            self.cluster.discard(host, connection)
        self.leave()
        self.down.finish(record)
        return self._keep and upload.is_read
