"""Graph."""

from __future__ import annotations

from tests.support.world import Cluster


def test_problems_come_from_parsers_and_from_resolution_once_each() -> None:
    cluster = Cluster()
    cluster.apply(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [nobody], bogus: 1, http: [{route: [{destination: {host: nobody}}]}]}"
    )
    problems = cluster.graph().problems()
    assert sorted(problem.reason for problem in problems) == [
        "ReferencedResourceNotFound",
        "UnknownHost",
        "UnsupportedField",
    ]
    assert len(set(problems)) == len(problems)
