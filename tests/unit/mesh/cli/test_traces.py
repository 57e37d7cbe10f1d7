"""Trees out of Jaeger-shaped traces."""

from mesh.cli.traces import roots, spans, tree


def span(identity, parent, process, start, kind):
    references = [{"refType": "CHILD_OF", "traceID": "t", "spanID": parent}] if parent else []
    tags = [{"key": "span.kind", "value": kind}, {"key": "http.status_code", "value": 200}]
    return {"spanID": identity, "operationName": f"op-{identity}", "references": references, "startTime": start, "duration": 1500, "processID": process, "tags": tags}


TRACE = {
    "traceID": "t",
    "processes": {"p1": {"serviceName": "gateway"}, "p2": {"serviceName": "reviews"}},
    "spans": [span("b", "a", "p2", 20, "server"), span("a", "elsewhere", "p1", 10, "client"), span("c", "a", "p2", 30, "client")],
}


def test_a_parent_outside_the_trace_makes_a_root():
    assert [root.id for root in roots(spans(TRACE))] == ["a"]


def test_tree_is_indented_and_in_order_of_time():
    assert list(tree(spans(TRACE))) == [
        "gateway  CLIENT op-a 200 1.5 ms",
        "├─ reviews  SERVER op-b 200 1.5 ms",
        "└─ reviews  CLIENT op-c 200 1.5 ms",
    ]
