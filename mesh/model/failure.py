"""Failure: why an exchange went wrong, whose fault it was and whether it may be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Flag(Enum):
    """Envoy's response flags, as they appear in access logs and in the label `response_flags`."""

    NO_ROUTE = "NR"
    NO_CLUSTER = "NC"
    NO_HEALTHY_UPSTREAM = "UH"
    UPSTREAM_CONNECT_FAILURE = "UF"
    UPSTREAM_CONNECTION_TERMINATION = "UC"
    UPSTREAM_RESET = "UR"
    UPSTREAM_REQUEST_TIMEOUT = "UT"
    UPSTREAM_OVERFLOW = "UO"
    UPSTREAM_RETRY_LIMIT = "URX"
    UPSTREAM_PROTOCOL_ERROR = "UPE"
    UPSTREAM_MAX_DURATION = "UMSDR"
    DOWNSTREAM_TERMINATION = "DC"
    DOWNSTREAM_PROTOCOL_ERROR = "DPE"
    DELAY_INJECTED = "DI"
    FAULT_INJECTED = "FI"
    STREAM_IDLE_TIMEOUT = "SI"
    DURATION_TIMEOUT = "DT"
    RATE_LIMITED = "RL"
    UNAUTHORIZED = "UAEX"
    OVERLOAD = "OM"


class Side(Enum):
    """Whose fault: REMOTE a peer's, LOCAL ours."""

    REMOTE = "remote"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt as a value.

    status: what the client gets when it is not repeated. details: Envoy's RESPONSE_CODE_DETAILS, snake case.
    surely_unprocessed: no byte of the request can have been acted upon: it may be repeated whatever the method.
    """

    flag: Flag
    side: Side
    status: int
    details: str
    surely_unprocessed: bool = False
