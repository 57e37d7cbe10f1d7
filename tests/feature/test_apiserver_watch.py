"""Watches through the real server: resume, bookmarks, selectors, compaction, restarts."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from kubernetes import client, watch

from tests.support import apiserver as support
from tests.support.apiserver import ApiServer, call, running

server = support.module_server
api = support.module_admin

CM = "/api/v1/namespaces/default/configmaps"


class Lines:
    """An open watch, read event by event."""

    def __init__(self, api: client.ApiClient, path: str, accept: str = "application/json", **query: Any) -> None:
        text = "&".join(f"{k}={v}" for k, v in {"watch": "1", "timeoutSeconds": 20, **query}.items())
        self._answer = api.rest_client.pool_manager.request("GET", f"{api.configuration.host}{path}?{text}", headers={"Accept": accept}, preload_content=False, retries=False)
        assert self._answer.status == 200, self._answer.data
        self._rest = b""

    def next(self) -> dict[str, Any]:
        while b"\n" not in self._rest:
            piece = self._answer.read1(65536)
            assert piece, "the watch ended"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def names(self, count: int) -> list[tuple[str, str]]:
        return [(e["type"], e["object"]["metadata"]["name"]) for e in (self.next() for _ in range(count))]

    def close(self) -> None:
        self._answer.close()
        self._answer.release_conn()


def make(api: client.ApiClient, name: str, **labels: str) -> dict[str, Any]:
    code, made, _ = call(api, "POST", CM, {"metadata": {"name": name, "labels": labels}})
    assert code == 201, made
    return made  # type: ignore[no-any-return]


def test_watch_from_a_revision_replays_and_follows(api: client.ApiClient) -> None:
    start = make(api, "w1", t="follow")["metadata"]["resourceVersion"]
    make(api, "w2", t="follow")
    lines = Lines(api, CM, resourceVersion=start, labelSelector="t%3Dfollow")
    assert lines.names(1) == [("ADDED", "w2")]
    call(api, "PATCH", f"{CM}/w1", {"data": {"a": "b"}}, "application/merge-patch+json")
    call(api, "DELETE", f"{CM}/w2")
    assert lines.names(2) == [("MODIFIED", "w1"), ("DELETED", "w2")]
    lines.close()


def test_object_that_starts_or_stops_to_match_is_added_or_deleted(api: client.ApiClient) -> None:
    start = make(api, "moving", color="red")["metadata"]["resourceVersion"]
    lines = Lines(api, CM, resourceVersion=start, labelSelector="color%3Dblue")
    for color in ("blue", "green"):
        call(api, "PATCH", f"{CM}/moving", {"metadata": {"labels": {"color": color}}}, "application/merge-patch+json")
    assert lines.names(2) == [("ADDED", "moving"), ("DELETED", "moving")]
    lines.close()


def test_streaming_list_ends_with_an_annotated_bookmark(api: client.ApiClient) -> None:
    make(api, "s1", t="stream")
    lines = Lines(api, CM, labelSelector="t%3Dstream", sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true")
    assert lines.names(1) == [("ADDED", "s1")]
    bookmark = lines.next()
    assert bookmark["type"] == "BOOKMARK" and bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) > 0
    lines.close()


def test_table_watch_sends_columns_once(api: client.ApiClient) -> None:
    make(api, "table-1", t="table")
    lines = Lines(api, CM, "application/json;as=Table;v=v1;g=meta.k8s.io", labelSelector="t%3Dtable")
    first = lines.next()["object"]
    make(api, "table-2", t="table")
    second = lines.next()["object"]
    assert [c["name"] for c in first["columnDefinitions"]] == ["Name", "Data", "Age"] and second["columnDefinitions"] == []
    assert second["rows"][0]["cells"][:2] == ["table-2", 0]
    lines.close()


def test_metadata_only_watch(api: client.ApiClient) -> None:
    make(api, "meta-1", t="meta")
    lines = Lines(api, CM, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", labelSelector="t%3Dmeta")
    seen = lines.next()["object"]
    assert seen["kind"] == "PartialObjectMetadata" and set(seen) == {"kind", "apiVersion", "metadata"}
    lines.close()


def test_timeout_ends_the_stream_cleanly(api: client.ApiClient) -> None:
    assert list(watch.Watch().stream(client.CoreV1Api(api).list_namespaced_secret, "default", timeout_seconds=1)) == []


def test_future_revision_is_refused(api: client.ApiClient) -> None:
    code, said, _ = call(api, "GET", CM, watch="1", resourceVersion="99999999")
    assert (code, said["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


def test_compacted_revision_is_gone(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--history", "10") as server, server.api() as api:
        start = make(api, "old")["metadata"]["resourceVersion"]
        for number in range(12):
            make(api, f"fill-{number}")
        lines = Lines(api, CM, resourceVersion=start)
        event = lines.next()
        lines.close()
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert call(api, "GET", CM, resourceVersion=start, resourceVersionMatch="Exact")[0] == 410


def test_watch_resumes_across_a_killed_server(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server:
        with server.api() as api:
            start = make(api, "before")["metadata"]["resourceVersion"]
            make(api, "during")
            call(api, "DELETE", f"{CM}/before")
        server.kill()
        server.start()
        with server.api() as api:
            lines = Lines(api, CM, resourceVersion=start)
            assert lines.names(2) == [("ADDED", "during"), ("DELETED", "before")]
            make(api, "after")
            assert lines.names(1) == [("ADDED", "after")]
            lines.close()


def test_client_that_does_not_read_holds_nobody_up(api: client.ApiClient) -> None:
    stuck = Lines(api, CM, labelSelector="t%3Dflood")
    big = "x" * 200_000
    make(api, "flood", t="flood")
    for number in range(40):
        code, _, _ = call(api, "PATCH", f"{CM}/flood", {"data": {"big": big + str(number)}}, "application/merge-patch+json")
        assert code == 200
    fresh = Lines(api, CM, labelSelector="t%3Dflood")
    assert fresh.names(1) == [("ADDED", "flood")]
    fresh.close()
    assert [kind for kind, _ in stuck.names(41)] == ["ADDED"] + ["MODIFIED"] * 40
    stuck.close()


def test_many_watchers_all_see_every_change(server: ApiServer) -> None:
    seen: list[list[str]] = []

    def follow() -> None:
        with server.api() as api:
            lines = Lines(api, CM, labelSelector="t%3Dmany", sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true")
            assert lines.next()["type"] == "BOOKMARK"
            ready.release()
            seen.append([name for _, name in lines.names(5)])
            lines.close()

    ready = threading.Semaphore(0)
    threads = [threading.Thread(target=follow) for _ in range(12)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert ready.acquire(timeout=20)
    with server.api() as api:
        for number in range(5):
            make(api, f"many-{number}", t="many")
    for thread in threads:
        thread.join(20)
    assert seen == [[f"many-{n}" for n in range(5)]] * 12
