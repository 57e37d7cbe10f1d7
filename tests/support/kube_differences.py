"""Every difference that stays between the embedded API server and a real one, and between our CRDs and the real ones: the one list.

The suites of tests/conformance judge by it, and fail when an entry is no difference any more; docs/api-server.md shows it as a table
(`python -m tests.support.kube_differences --write`, checked by tests/conformance/kube_api/test_differences.py).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/api-server.md"
BEGIN, END = "<!-- differences: begin (made by `python -m tests.support.kube_differences --write`) -->", "<!-- differences: end -->"
ACCEPTED: list[Any] = [[201], []]
Json = Any


class Outcome(NamedTuple):
    """In the outcome of a scene (tests/support/kube_scenes.py): where, and what the embedded server's is there."""

    scene: str
    path: tuple[str | int, ...]
    ours: Any
    reason: str


class Answer(NamedTuple):
    """In the answer to one step (tests/support/apiserver_contract.py): paths of its body that differ."""

    step: str
    paths: tuple[str, ...]
    ours: str
    real: str
    reason: str


class Stricter(NamedTuple):
    """Objects that the real CRDs take and ours refuse: `pattern` matches what was done to a valid object (tests/support/crd_corpus.py)."""

    pattern: str
    what: str


class Missing(NamedTuple):
    """Resources of one group and version that a real server has and the embedded one has not."""

    names: tuple[str, ...]
    reason: str


OUTCOMES = [
    Outcome("definitions that are refused", ("rule of another type",), ACCEPTED, "CEL is parsed when a CRD comes; wrong types are found when a rule is evaluated: cel-python has no type checker"),
    Outcome("definitions that are refused", ("rule over an unknown field",), ACCEPTED, "the same"),
    Outcome("strategic patches and their directives", (6,), [422, "Invalid"], "a list element without its key: a mistake of the client, not an error without reason of the server"),
    Outcome("strategic patches and their directives", (7,), [422, "Invalid"], "the same of a directive that there is not"),
    Outcome("formats that are not served", ("application/yaml",), [406, "application/json"], "nobody asks for YAML: kubectl makes it itself"),
]
SERVED = "resources that are served"
NOT_SERVED = {
    "v1": Missing(("bindings", "componentstatuses", "persistentvolumeclaims", "persistentvolumeclaims/status", "persistentvolumes", "persistentvolumes/status", "podtemplates", "replicationcontrollers", "replicationcontrollers/scale", "replicationcontrollers/status"), "no storage but emptyDir; what Deployments and pods/binding replaced long ago"),
    "apiregistration.k8s.io/v1": Missing(("apiservices", "apiservices/status"), "no aggregated API servers"),
    "autoscaling/v1": Missing(("horizontalpodautoscalers", "horizontalpodautoscalers/status"), "no autoscaler"),
    "certificates.k8s.io/v1": Missing(("certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"), "the node has its certificates from the start"),
    "networking.k8s.io/v1": Missing(("ipaddresses", "servicecidrs", "servicecidrs/status"), "one service network, which is fixed"),
    "storage.k8s.io/v1": Missing(("csidrivers", "csinodes", "csistoragecapacities", "volumeattachments", "volumeattachments/status", "volumeattributesclasses"), "no storage but emptyDir"),
    "admissionregistration.k8s.io/v1": Missing(("validatingadmissionpolicies", "validatingadmissionpolicies/status", "validatingadmissionpolicybindings"), "webhooks alone decide about admission"),
    "node.k8s.io/v1": Missing(("runtimeclasses",), "one container runtime"),
    "resource.k8s.io/v1": Missing(("deviceclasses", "resourceclaims", "resourceclaims/status", "resourceclaimtemplates", "resourceslices"), "no devices"),
    "flowcontrol.apiserver.k8s.io/v1": Missing(("flowschemas", "flowschemas/status", "prioritylevelconfigurations", "prioritylevelconfigurations/status"), "no priorities among requests"),
}
"""A request for one of them gets what a request for anything unknown gets: 404 with a Status."""
ANSWERS = [
    Answer("definition", ("status", "metadata.finalizers"), "established in the answer", "established by a controller a moment later", "clients wait for the condition on both; here they need not"),
    Answer("list", ("items.apiVersion", "items.kind"), "items say what they are", "items of typed lists do not", "lists are stored bytes, joined; no client may rely on either"),
    Answer("headless", ("spec.ipFamilies", "spec.ipFamilyPolicy"), "one family", "both families are promised to a Service without a selector", "the sandbox has IPv4 alone"),
    Answer("log without node", ("details.kind",), "`nodes`", "`pods`", "the missing thing is a node"),
    Answer("node", ("spec", "status.nodeInfo", "status.daemonEndpoints"), "as it was sent", "a taint until it is ready; empty strings", "its one node is ready when it registers; Go's zero values say nothing"),
    Answer("event", ("eventTime", "firstTimestamp", "lastTimestamp"), "absent", "null", "the same to every client"),
]
TOLERATED: dict[str, set[str]] = {entry.step: set(entry.paths) for entry in ANSWERS}
STRICTER = [
    Stricter(r"spec\..*\bport(\.number)? zero", "port 0"),
    Stricter(r"spec\..*\.fault\.abort\.httpStatus (negative|huge|zero)", "a status that HTTP does not have"),
    Stricter(r"spec\..*\.(redirectCode|directResponse\.status) zero", "a status that HTTP does not have"),
    Stricter(r"spec\..*(percentage|mirrorPercentage)\.value (negative|huge)", "a percentage outside of 0 to 100"),
    Stricter(r"spec\..*\.maxEjectionPercent (negative|huge)", "a percentage outside of 0 to 100"),
    Stricter(r"spec\..*\.(weight|attempts) negative", "a negative count"),
    Stricter(r"spec\..*\.httpCookie\.ttl (empty|nonsense|long)", "a duration that is none"),
    Stricter(r"ServiceEntry: spec\.hosts\.0 empty", "a host without a name"),
]
STRICTER_REASON = "Istio refuses it, too, but by its control plane's validating webhook; ours are refused by the schema, whether a control plane runs or not"


def with_outcomes(name: str, outcome: Json) -> Json:
    """A real server's outcome of a scene, with the embedded one's put in where the two differ on purpose. Raises: AssertionError: they do not."""
    outcome = json.loads(json.dumps(outcome))
    for difference in OUTCOMES:
        if difference.scene == name:
            place = _place(outcome, difference.path[:-1])
            assert place[difference.path[-1]] != difference.ours, f"no difference any more: {difference}"
            place[difference.path[-1]] = json.loads(json.dumps(difference.ours))
    if name == SERVED:
        missing = {f"{version} {resource}" for version, entry in NOT_SERVED.items() for resource in entry.names}
        assert missing <= set(outcome), f"no difference any more: {missing - set(outcome)}"
        return [entry for entry in outcome if entry not in missing]
    return outcome


def stricter(name: str) -> Stricter | None:
    """Why our CRDs refuse the case of the corpus that the real ones take; None when they do not."""
    change = name.partition(" ")[2]
    return next((entry for entry in STRICTER if re.fullmatch(rf"(\w+: )?{entry.pattern}", change)), None)


def rendered() -> str:
    """The tables of docs/api-server.md."""
    folder = ROOT / "tests/conformance"
    scenes: Json = json.loads((folder / "kube_api/scenes.json").read_text())
    taken = [name for name, verdict in json.loads((folder / "crds/verdicts.json").read_text()).items() if verdict == "accepted"]
    lines = ["| where | embedded | real | why it stays |", "|---|---|---|---|"]
    for entry in OUTCOMES:
        where = f"{entry.scene}: {', '.join(str(step) for step in entry.path)}"
        lines.append(_row(where, _short(entry.ours), _short(_place(scenes[entry.scene], entry.path)), entry.reason))
    lines += [_row(f"answer to “{entry.step}”: {', '.join(f'`{path}`' for path in entry.paths)}", entry.ours, entry.real, entry.reason) for entry in ANSWERS]
    lines += [_row(f"`{version}` without {', '.join(entry.names)}", "404", "served", entry.reason) for version, entry in NOT_SERVED.items()]
    lines += ["", f"Objects that the real CRDs take and ours refuse. {STRICTER_REASON}.", "", "| object (file, number, kind: field, what was done to it) | refused for |", "|---|---|"]
    lines += [_row(f"`{name}`", found.what) for name in taken if (found := stricter(name))]
    return "\n".join(lines)


def in_page(text: str) -> str:
    """The page with its tables made anew. Raises: ValueError: the marks are missing."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{PAGE.name} lacks the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{rendered()}\n\n{END}{after}"


def _place(value: Json, path: tuple[str | int, ...]) -> Json:
    for step in path:
        value = value[step]
    return value


def _short(value: Json) -> str:
    text = json.dumps(value)
    return f"`{text if len(text) < 90 else text[:86] + ' …'}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Print the tables, or with --write put them into the page."""
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(in_page(PAGE.read_text()))
    else:
        print(rendered())


if __name__ == "__main__":
    main()
