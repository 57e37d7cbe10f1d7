from mesh.model.endpoint import Health, Locality
from tests.support.observe import REVIEWS_V1, endpoint, host


def test_health_is_configured_health_and_not_ejected() -> None:
    plain, ill, draining = host(), host(health=Health.UNHEALTHY), host(health=Health.DRAINING)
    assert [(item.is_healthy, item.is_draining) for item in (plain, ill, draining)] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    plain.ejected = True
    assert not plain.is_healthy


def test_an_update_keeps_what_was_seen() -> None:
    item = host()
    item.active, item.requests_total = 3, 9
    item.update(endpoint("10.0.0.2:9080", 5), Locality("r", "z"), 1)
    assert (item.weight, item.locality, item.priority) == (5, Locality("r", "z"), 1)
    assert (item.active, item.requests_total) == (3, 9)


def test_another_workload_behind_the_address_gets_other_series() -> None:
    item = host()
    item.series[(200,)] = None  # type: ignore[assignment]
    item.update(endpoint("10.0.0.2:9080"), Locality(), 0)
    assert item.series
    item.update(endpoint("10.0.0.2:9080", workload=REVIEWS_V1), Locality(), 0)
    assert not item.series


def test_a_weight_is_at_least_one() -> None:
    assert host(weight=0).weight == 1
