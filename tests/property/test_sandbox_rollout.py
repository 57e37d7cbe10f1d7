"""A rolling update keeps its two promises whatever the sizes and whenever pods become ready."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.sandbox.controllers import deployment, replicaset, rollout
from mesh.sandbox.controllers.pods import is_ready
from mesh.sandbox.kubeclient import DEPLOYMENTS, PODS, REPLICA_SETS
from mesh.sandbox.times import parse_stamp
from tests.support.sandbox_controllers import EPOCH, World, make_ready, template

NOW = parse_stamp(EPOCH) + 10
bounds = st.one_of(st.integers(0, 3), st.integers(0, 100).map(lambda n: f"{n}%"))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), bounds, bounds, st.data())
def test_never_too_few_available_and_never_too_many_pods(replicas: int, surge: int | str, unavailable: int | str, data: st.DataObject) -> None:
    world = World()
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(),
        "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
    }
    found = world.add({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    for _ in range(10):
        _controllers(world)
        for pod in world.all(PODS):
            make_ready(pod)
    assert sum(map(is_ready, world.all(PODS))) == replicas
    most, least = replicas + rollout.limits(found)[0], replicas - rollout.limits(found)[1]

    found["spec"]["template"] = template("2")
    for _ in range(100):
        waiting = [pod for pod in world.all(PODS) if not is_ready(pod)]
        # Any of the waiting pods may become ready now, at least one now and then.
        for pod in data.draw(st.lists(st.sampled_from(waiting), unique_by=id)) if waiting else ():
            make_ready(pod)
        _controllers(world)
        assert sum(map(is_ready, world.all(PODS))) >= least
        assert len(world.all(PODS)) <= most
        if not data.draw(st.booleans()):
            continue
        for pod in world.all(PODS):
            make_ready(pod)
    for _ in range(40):
        _controllers(world)
        for pod in world.all(PODS):
            make_ready(pod)
    assert {pod["spec"]["containers"][0]["image"] for pod in world.all(PODS)} == {"image:2"}
    assert len(world.all(PODS)) == replicas


def _controllers(world: World) -> None:
    found = world.get(DEPLOYMENTS, "web")
    world.execute(deployment.plan(found, world.all(REPLICA_SETS), 0, NOW))
    for rs in world.all(REPLICA_SETS):
        world.execute(replicaset.plan(rs, world.all(PODS), NOW))
