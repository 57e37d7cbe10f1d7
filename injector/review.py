"""Review: an AdmissionReview in, an AdmissionReview out; the webhook without its sockets.

Source: Kubernetes, "Dynamic Admission Control", admission.k8s.io/v1.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from injector import decide, pod
from injector.decide import Decision
from injector.patch import patch
from injector.pod import BadPod, Json
from injector.settings import Settings

_API = "admission.k8s.io/v1"
# Source: Kubernetes cuts warnings beyond 120 characters (256 for all); a warning is one line.
_MAX_WARNING = 256


class BadReview(ValueError):
    """The body is no AdmissionReview of a Pod; answered with 400. The message names what is wrong."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the API server asks."""

    uid: str
    namespace: str
    dry_run: bool
    pod: Json


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send, and what to count: `outcome` is "injected", "skipped" or "denied"."""

    body: Json
    outcome: str
    decision: Decision | None
    message: str = ""


def asked(body: bytes) -> Json:
    """The `request` of an AdmissionReview, whatever its object is. Raises: BadReview."""
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadReview(f"the body is not JSON: {exc}") from exc
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview":
        raise BadReview("kind: must be AdmissionReview")
    if review.get("apiVersion") != _API:
        raise BadReview(f"apiVersion: must be {_API}, not {review.get('apiVersion')!r}")
    request = review.get("request")
    if not isinstance(request, dict):
        raise BadReview("request: is missing")
    if not isinstance(request.get("uid"), str) or not request["uid"]:
        raise BadReview("request.uid: is missing")
    if not isinstance(request.get("object"), dict):
        raise BadReview("request.object: is missing")
    if not isinstance(request.get("kind"), dict):
        raise BadReview("request.kind: is missing")
    return request


def parse(body: bytes) -> Question:
    """The question in a request body. Raises: BadReview."""
    request = asked(body)
    kind, obj = request["kind"], request["object"]
    if (kind.get("group") or "", kind.get("kind")) != ("", "Pod"):
        raise BadReview(f"request.kind: only Pods are injected, not {kind!r}")
    namespace = request.get("namespace") or (obj.get("metadata") or {}).get("namespace") or "default"
    return Question(request["uid"], str(namespace), bool(request.get("dryRun")), obj)


def answer(question: Question, labels_of: Callable[[str], Mapping[str, str]], settings: Settings) -> Answer:
    """Decide and patch.

    Args: labels_of: labels of a namespace by its name (the caller has fetched them).
    """
    decision = None
    try:
        decision = decide.decide(question.pod, question.namespace, labels_of(question.namespace), settings)
        if not decision.inject:
            return Answer(response(question.uid, warnings=decision.warnings), "skipped", decision, decision.sentence)
        operations, warnings = patch(question.pod, question.namespace, settings)
    except BadPod as exc:
        message = f"triomesh cannot inject pod {name_of(question)}: {exc}"
        return Answer(response(question.uid, denied=message), "denied", decision, message)
    body = response(question.uid, operations, warnings=decision.warnings + warnings)
    return Answer(body, "injected", decision, decision.sentence)


def name_of(question: Question) -> str:
    """namespace/name for messages; a pod made by a controller has only a prefix as yet."""
    meta = pod.metadata(question.pod)
    name = meta.get("name") or f"{meta.get('generateName') or 'unnamed'}*"
    return f"{question.namespace}/{name}"


def response(
    uid: str, operations: list[Json] | None = None, *, denied: str = "", warnings: tuple[str, ...] = ()
) -> Json:
    """An AdmissionReview that answers: denied with that message, or allowed, perhaps patched."""
    body: Json = {"uid": uid, "allowed": not denied}
    if denied:
        # 422 as for an object that fails validation: kubectl prints the message after "admission webhook … denied".
        body["status"] = {"code": 422, "reason": "Invalid", "message": denied}
    if operations:
        body |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}
    if warnings:
        body["warnings"] = [text[:_MAX_WARNING] for text in warnings]
    return {"apiVersion": _API, "kind": "AdmissionReview", "response": body}
