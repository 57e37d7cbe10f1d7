"""Circuit breakers and outlier detection: when a cluster, or a host of it, gets no more requests."""

from __future__ import annotations

from mesh.model.cluster import CircuitBreaker, OutlierDetection, RetryBudget
from mesh.xds.decode.common import Reader

_OUTLIER_FIELDS = (
    "consecutive_5xx",
    "enforcing_consecutive_5xx",
    "consecutive_gateway_failure",
    "enforcing_consecutive_gateway_failure",
    "split_external_local_origin_errors",
    "consecutive_local_origin_failure",
    "enforcing_consecutive_local_origin_failure",
    "interval",
    "base_ejection_time",
    "max_ejection_time",
    "max_ejection_percent",
    "enforcing_success_rate",
    "enforcing_local_origin_success_rate",
    "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin",
)
# Parameters of the statistical detectors, which must be switched off (see _outlier); jitter and the like.
_OUTLIER_HARMLESS = (
    "success_rate_minimum_hosts",
    "success_rate_request_volume",
    "success_rate_stdev_factor",
    "failure_percentage_threshold",
    "failure_percentage_minimum_hosts",
    "failure_percentage_request_volume",
    "max_ejection_time_jitter",
    "successful_active_health_check_uneject_host",
)
_STATISTICAL = (
    "enforcing_success_rate",
    "enforcing_local_origin_success_rate",
    "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin",
)
_COMMON_LB_FIELDS = ("healthy_panic_threshold", "locality_weighted_lb_config", "zone_aware_lb_config")
_COMMON_LB_HARMLESS = (
    "update_merge_window",
    "ignore_new_hosts_until_first_hc",
    "close_connections_on_host_set_change",
    "override_host_status",
)
_ENVOY_PANIC_PERCENT = 50
_ENVOY_MAX_CONNECTIONS = 1024
_ENVOY_MAX_RETRIES = 3


def read_circuit_breaker(reader: Reader) -> CircuitBreaker:
    """Thresholds of the default priority; nothing is ever routed with high priority."""
    breakers = reader.child("circuit_breakers", ("thresholds", "per_host_thresholds"))
    if breakers.message.per_host_thresholds:
        raise breakers.error("per_host_thresholds", "is not supported")
    fields = ("priority", "max_connections", "max_pending_requests", "max_requests", "max_retries", "retry_budget")
    for limits in breakers.children("thresholds", fields, ("track_remaining", "max_connection_pools")):
        if limits.message.priority == 0:
            return CircuitBreaker(
                max_connections=limits.wrapped("max_connections", _ENVOY_MAX_CONNECTIONS),
                max_pending_requests=limits.wrapped("max_pending_requests", _ENVOY_MAX_CONNECTIONS),
                max_requests=limits.wrapped("max_requests", _ENVOY_MAX_CONNECTIONS),
                max_retries=limits.wrapped("max_retries", _ENVOY_MAX_RETRIES),
                retry_budget=_retry_budget(limits) if limits.has("retry_budget") else None,
            )
    limit = _ENVOY_MAX_CONNECTIONS
    return CircuitBreaker(limit, limit, limit, _ENVOY_MAX_RETRIES)


def _retry_budget(limits: Reader) -> RetryBudget:
    budget = limits.child("retry_budget", ("budget_percent", "min_retry_concurrency"))
    return RetryBudget(budget.percent("budget_percent", 20.0), budget.wrapped("min_retry_concurrency", 3))


def read_health(reader: Reader) -> tuple[OutlierDetection | None, bool]:
    """(outlier detection, whether localities are weighed)."""
    common = reader.child("common_lb_config", _COMMON_LB_FIELDS, _COMMON_LB_HARMLESS)
    if common.has("zone_aware_lb_config") and common.message.zone_aware_lb_config.min_cluster_size.value != 0:
        # Istio sends an empty one; with a size it would keep traffic in the zone.
        raise common.error("zone_aware_lb_config.min_cluster_size", "is not supported")
    is_weighted = common.has("locality_weighted_lb_config")
    if not reader.has("outlier_detection"):
        return None, is_weighted
    panic = common.percent("healthy_panic_threshold", _ENVOY_PANIC_PERCENT)
    return _outlier(reader, round(panic)), is_weighted


def _outlier(reader: Reader, panic_percent: int) -> OutlierDetection:
    outlier = reader.child("outlier_detection", _OUTLIER_FIELDS, _OUTLIER_HARMLESS)
    for field in _STATISTICAL:
        if outlier.wrapped(field, 0):
            raise outlier.error(field, "statistical outlier detection is not supported")
    return OutlierDetection(
        consecutive_5xx=_detector(outlier, "consecutive_5xx", 5, 100),
        consecutive_gateway_failure=_detector(outlier, "consecutive_gateway_failure", 5, 0),
        consecutive_local_origin_failure=_detector(outlier, "consecutive_local_origin_failure", 5, 100),
        split_external_local_origin_errors=outlier.message.split_external_local_origin_errors,
        interval_seconds=outlier.seconds("interval", 10.0),
        base_ejection_seconds=outlier.seconds("base_ejection_time", 30.0),
        max_ejection_seconds=max(
            outlier.seconds("max_ejection_time", 300.0), outlier.seconds("base_ejection_time", 30.0)
        ),
        max_ejection_percent=outlier.wrapped("max_ejection_percent", 10),
        min_health_percent=panic_percent,
    )


def _detector(outlier: Reader, field: str, default: int, enforced: int) -> int:
    """The threshold, 0 when the detector is not enforced. `default`, `enforced`: Envoy's when nothing is said."""
    percent = outlier.wrapped(f"enforcing_{field}", enforced)
    if percent not in (0, 100):
        raise outlier.error(f"enforcing_{field}", f"{percent} is neither 0 nor 100")
    if field == "consecutive_local_origin_failure" and not outlier.message.split_external_local_origin_errors:
        return 0
    return int(outlier.wrapped(field, default)) if percent else 0
