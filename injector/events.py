"""Events: what a user sees in `kubectl describe` when a pod that asked for a sidecar did not get one."""

import datetime as dt

from injector import pod
from injector.pod import Json
from injector.review import Answer, Question


def skipped_event(question: Question, answer: Answer, now: dt.datetime) -> Json | None:
    """The Event `InjectionSkipped`, on the pod's owner (the pod does not exist yet); None when there is no news.

    News is a pod that opted in and was skipped or denied, not one that nobody wanted injected.
    """
    unwanted = answer.decision is not None and not answer.decision.opted_in
    if answer.outcome == "injected" or unwanted:
        return None
    meta = pod.metadata(question.pod)
    owner = next((ref for ref in meta.get("ownerReferences") or [] if ref.get("controller")), None)
    involved: Json = {"kind": "Pod", "apiVersion": "v1", "name": meta.get("name") or meta.get("generateName") or "unnamed"}
    if owner is not None:
        involved = {key: owner.get(key) for key in ("kind", "apiVersion", "name", "uid")}
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{str(involved['name']).rstrip('-.')[:200]}.", "namespace": question.namespace},
        "involvedObject": {**involved, "namespace": question.namespace},
        "reason": "InjectionSkipped",
        "message": answer.message[:1024],
        "type": "Warning",
        "source": {"component": "triomesh-injector"},
        "reportingComponent": "triomesh-injector",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
