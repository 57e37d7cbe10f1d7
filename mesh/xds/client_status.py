"""CSDS on the wire (`envoy.service.status.v3`): the query, and the answer about connected clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import envoy.admin.v3.config_dump_shared_pb2 as dump_pb
import envoy.service.status.v3.csds_pb2 as csds_pb
from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.xds.error import ProtocolError
from mesh.xds.resource_status import ResourceStatus
from mesh.xds.subscription import Status

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
FETCH = "FetchClientStatus"
STREAM = "StreamClientStatus"

_CONFIG_STATUS = {
    Status.SYNCED: csds_pb.ConfigStatus.SYNCED,
    Status.NOT_SENT: csds_pb.ConfigStatus.NOT_SENT,
    Status.STALE: csds_pb.ConfigStatus.STALE,
    Status.ERROR: csds_pb.ConfigStatus.ERROR,
}
_CLIENT_STATUS = {
    Status.SYNCED: dump_pb.ClientResourceStatus.ACKED,
    Status.NOT_SENT: dump_pb.ClientResourceStatus.UNKNOWN,
    Status.STALE: dump_pb.ClientResourceStatus.REQUESTED,
    Status.ERROR: dump_pb.ClientResourceStatus.NACKED,
}


@dataclass(frozen=True, slots=True)
class Query:
    """Which clients (empty = all) and whether the resources themselves are wanted.

    matches: predicates over a node id, one of which must hold.
    """

    matchers: tuple[Any, ...] = ()
    with_bodies: bool = True

    def selects(self, node_id: str) -> bool:
        return not self.matchers or any(_matches(matcher, node_id) for matcher in self.matchers)


def read_query(data: bytes) -> Query:
    """Raises: ProtocolError: undecodable, or a matcher other than on the node's id."""
    try:
        request = csds_pb.ClientStatusRequest.FromString(data)
    except ProtobufError as exc:
        raise ProtocolError(f"not a ClientStatusRequest: {exc}") from exc
    for matcher in request.node_matchers:
        if matcher.node_metadatas:
            raise ProtocolError("node_matchers.node_metadatas: only node_id is supported")
        if matcher.node_id.WhichOneof("match_pattern") not in _COMPARE:
            raise ProtocolError("node_matchers.node_id: only exact, prefix, suffix and contains are supported")
    return Query(tuple(matcher.node_id for matcher in request.node_matchers), not request.exclude_resource_contents)


def client_config(
    node_body: bytes, lines: Iterable[ResourceStatus], wall_offset: float, with_bodies: bool = False
) -> Any:
    """One client. wall_offset: seconds to add to the lines' clock for Unix time."""
    config = csds_pb.ClientConfig()
    config.node.ParseFromString(node_body)
    for line in lines:
        entry = config.generic_xds_configs.add(
            type_url=line.kind.value,
            name=line.name,
            version_info=line.version,
            config_status=_CONFIG_STATUS[line.status],
            client_status=_CLIENT_STATUS[line.status],
        )
        if line.sent_at:
            entry.last_updated.CopyFrom(_timestamp(line.sent_at + wall_offset))
        if line.error:
            entry.error_state.details = line.error
            entry.error_state.version_info = line.refused_version
            entry.error_state.last_update_attempt.CopyFrom(_timestamp(line.refused_at + wall_offset))
        if with_bodies and line.body:
            entry.xds_config.type_url, entry.xds_config.value = line.kind.value, line.body
    return config


def write_response(configs: Iterable[Any]) -> bytes:
    return bytes(csds_pb.ClientStatusResponse(config=list(configs)).SerializeToString())


def response_as_dict(data: bytes) -> dict[str, Any]:
    """A `ClientStatusResponse` as JSON object (proto3 JSON names), for callers that show it. Raises: ProtocolError.

    Resource contents are decoded when their types are known here.
    """
    from google.protobuf.json_format import MessageToDict

    from mesh.xds.dump import load_types

    load_types()
    try:
        message = csds_pb.ClientStatusResponse.FromString(data)
    except ProtobufError as exc:
        raise ProtocolError(f"not a ClientStatusResponse: {exc}") from exc
    result: dict[str, Any] = MessageToDict(message)
    return result


def write_query(node_ids: Iterable[str] = (), with_bodies: bool = False) -> bytes:
    """A request for these nodes (none = all)."""
    request = csds_pb.ClientStatusRequest(exclude_resource_contents=not with_bodies)
    for node_id in node_ids:
        request.node_matchers.add().node_id.exact = node_id
    return bytes(request.SerializeToString())


_COMPARE: Mapping[str, Any] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
}


def _matches(matcher: Any, node_id: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    pattern = getattr(matcher, kind)
    if matcher.ignore_case:
        pattern, node_id = pattern.lower(), node_id.lower()
    return bool(_COMPARE[kind](node_id, pattern))


def _timestamp(unix_seconds: float) -> Any:
    return Timestamp(seconds=int(unix_seconds), nanos=int(unix_seconds % 1 * 1e9))
