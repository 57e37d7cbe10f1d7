"""Advice: what the user is told who applies an object that has no effect. Nothing is ever refused here.

The control plane says the same in the object's status, which is easily missed; kubectl prints this at once.
"""

from injector import review
from injector.pod import Json
from mesh.model.inert import without_effect


def answer(body: bytes) -> Json:
    """The AdmissionReview that answers an AdmissionReview: allowed, with warnings. Raises: BadReview."""
    asked = review.asked(body)
    kind, item = asked["kind"], asked["object"]
    group, name = str(kind.get("group") or ""), str(kind.get("kind") or "")
    message = without_effect(group, name)
    warnings = (f"Triomesh: {name} {item_name(item)}: {message}",) if message else ()
    return review.response(asked["uid"], warnings=warnings)


def item_name(item: Json) -> str:
    """The object's name; made by the API server only later when the user gave a prefix."""
    meta = item.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    return str(meta.get("name") or f"{meta.get('generateName') or 'unnamed'}*")
