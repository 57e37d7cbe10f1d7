"""Which changes make which object be looked at, and what each controller reads. No decisions here."""

from collections.abc import Callable
from typing import Any

from mesh.sandbox.controllers import (
    cronjob,
    daemonset,
    deployment,
    endpoints,
    job,
    loadbalancer,
    nodes,
    replicaset,
    statefulset,
)
from mesh.sandbox.controllers.plan import Plan, controller_of, is_controlled_by, matches
from mesh.sandbox.controllers.queue import Queue
from mesh.sandbox.controllers.shell import Shell
from mesh.sandbox.informer import Informer, Key, key_of
from mesh.sandbox.kubeclient import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    JOBS,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)

Json = dict[str, Any]
Planner = Callable[[Json], Plan]


class Workload:
    """A controller of one kind: plans for an object when it, or something that it owns or selects, changes."""

    def __init__(self, shell: Shell, resource: Resource, planner: Planner, children: tuple[Resource, ...]) -> None:
        self._shell, self._planner = shell, planner
        self.informer = shell.informer(resource)
        self.queue: Queue[Key] = Queue(resource.plural, self._reconcile)
        self.informer.subscribe(lambda old, new: self.queue.add(key_of(new or old or {})))
        self._kind = resource.kind
        for child in children:
            shell.informer(child).subscribe(self._on_child)

    async def _reconcile(self, key: Key) -> float | None:
        found = self.informer.get(*key)
        if found is None:
            return None
        return await self._shell.execute(self._planner(found), found)

    def _on_child(self, old: Json | None, new: Json | None) -> None:
        for item in (old, new):
            if item is None:
                continue
            reference = controller_of(item)
            namespace = item["metadata"].get("namespace", "")
            if reference is not None:
                if reference["kind"] == self._kind:
                    self.queue.add((namespace, reference["name"]))
            elif item is new:
                self._on_orphan(item, namespace)

    def _on_orphan(self, item: Json, namespace: str) -> None:
        """An object without a controller may be adopted by whoever selects it."""
        for owner in self.informer.all(namespace):
            if matches(owner["spec"].get("selector"), item["metadata"].get("labels")):
                self.queue.add(key_of(owner))


def deployments(shell: Shell) -> Workload:
    """Deployments. Pods matter to it only while a Recreate waits for old ones to be gone."""
    sets, pods = shell.informer(REPLICA_SETS), shell.informer(PODS)

    def planner(found: Json) -> Plan:
        namespace = found["metadata"]["namespace"]
        every = list(sets.all(namespace))
        old = [rs for rs in every if is_controlled_by(rs, found) and not deployment.same_template(rs["spec"]["template"], found["spec"]["template"])]
        uids = {rs["metadata"]["uid"] for rs in old}
        old_pods = sum((controller_of(pod) or {}).get("uid") in uids for pod in pods.all(namespace)) if uids else 0
        return deployment.plan(found, every, old_pods, shell.clock())

    workload = Workload(shell, DEPLOYMENTS, planner, (REPLICA_SETS,))

    def on_pod(old: Json | None, new: Json | None) -> None:
        reference = controller_of(old) if new is None and old is not None else None
        if reference is None or reference["kind"] != "ReplicaSet" or old is None:
            return
        rs = sets.get(old["metadata"]["namespace"], reference["name"])
        owner = controller_of(rs) if rs is not None else None
        if owner is not None:
            workload.queue.add((old["metadata"]["namespace"], owner["name"]))

    pods.subscribe(on_pod)
    return workload


def replica_sets(shell: Shell) -> Workload:
    """ReplicaSets."""
    return _owners_of_pods(shell, REPLICA_SETS, replicaset.plan)


def stateful_sets(shell: Shell) -> Workload:
    """StatefulSets."""
    return _owners_of_pods(shell, STATEFUL_SETS, statefulset.plan)


def daemon_sets(shell: Shell) -> Workload:
    """DaemonSets."""
    pods, every = shell.informer(PODS), shell.informer(NODES)

    def planner(found: Json) -> Plan:
        return daemonset.plan(found, list(pods.all(found["metadata"]["namespace"])), list(every.all()), shell.clock())

    workload = Workload(shell, DAEMON_SETS, planner, (PODS,))

    def on_node(_old: Json | None, _new: Json | None) -> None:
        for item in workload.informer.all():
            workload.queue.add(key_of(item))

    every.subscribe(on_node)
    return workload


def jobs(shell: Shell) -> Workload:
    """Jobs."""
    return _owners_of_pods(shell, JOBS, job.plan)


def cron_jobs(shell: Shell) -> Workload:
    """CronJobs."""
    every = shell.informer(JOBS)
    return Workload(
        shell, CRON_JOBS, lambda found: cronjob.plan(found, list(every.all(found["metadata"]["namespace"])), shell.clock()), (JOBS,)
    )


def service_endpoints(shell: Shell) -> Queue[Key]:
    """EndpointSlices and Endpoints of Services."""
    services, pods, slices = shell.informer(SERVICES), shell.informer(PODS), shell.informer(ENDPOINT_SLICES)
    objects, places = shell.informer(ENDPOINTS), shell.informer(NODES)

    async def reconcile(key: Key) -> float | None:
        service = services.get(*key)
        if service is None:
            return None
        by_name = {node["metadata"]["name"]: node for node in places.all()}
        plan = endpoints.plan(service, pods.all(key[0]), list(slices.all(key[0])), objects.get(*key), by_name)
        return await shell.execute(plan, service)

    queue: Queue[Key] = Queue("endpoints", reconcile, workers=4)

    def on_pod(old: Json | None, new: Json | None) -> None:
        for item in (old, new):
            if item is not None:
                labels = item["metadata"].get("labels") or {}
                for service in services.all(item["metadata"]["namespace"]):
                    selector = service["spec"].get("selector")
                    if selector and selector.items() <= labels.items():
                        queue.add(key_of(service))

    def on_slice(old: Json | None, new: Json | None) -> None:
        item = new or old or {}
        name = (item["metadata"].get("labels") or {}).get(endpoints.SERVICE_NAME)
        if name:
            queue.add((item["metadata"]["namespace"], name))

    def on_node(old: Json | None, _new: Json | None) -> None:
        if old is None:  # its zone becomes known
            for service in services.all():
                queue.add(key_of(service))

    services.subscribe(lambda old, new: queue.add(key_of(new or old or {})))
    pods.subscribe(on_pod)
    slices.subscribe(on_slice)
    objects.subscribe(lambda old, new: queue.add(key_of(new or old or {})))
    places.subscribe(on_node)
    return queue


def load_balancers(shell: Shell) -> Queue[Key]:
    """Addresses of Services of type LoadBalancer; one worker, so that no address is given twice."""
    services = shell.informer(SERVICES)

    async def reconcile(key: Key) -> float | None:
        service = services.get(*key)
        return None if service is None else await shell.execute(loadbalancer.plan(service, services.all()), service)

    queue: Queue[Key] = Queue("loadbalancers", reconcile, workers=1)
    services.subscribe(lambda old, new: queue.add(key_of(new or old or {})))
    return queue


def node_taints(shell: Shell) -> Queue[Key]:
    """Taints of nodes."""
    every = shell.informer(NODES)

    async def reconcile(key: Key) -> float | None:
        node = every.get(*key)
        return None if node is None else await shell.execute(nodes.plan(node), node)

    queue: Queue[Key] = Queue("nodes", reconcile, workers=1)
    every.subscribe(lambda old, new: queue.add(key_of(new or old or {})))
    return queue


def informers_of(shell: Shell) -> list[Informer]:
    """Every informer that the wiring asked for."""
    return list(shell.informers.values())


def _owners_of_pods(shell: Shell, resource: Resource, plan: Callable[[Json, list[Json], float], Plan]) -> Workload:
    """A kind that is planned from the pods of its namespace alone."""
    pods = shell.informer(PODS)
    return Workload(shell, resource, lambda found: plan(found, list(pods.all(found["metadata"]["namespace"])), shell.clock()), (PODS,))
