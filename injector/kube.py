"""Kube: the few calls to the Kubernetes API that the injector makes. The only module here that imports its client."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from injector.pod import Json

_log = logging.getLogger(__name__)
# Server-side end of a watch; a little jitter comes from the API server itself.
_WATCH_SECONDS = 300
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


class ApiFailed(Exception):
    """The API server said no, or could not be reached (`code` 0)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Listed:
    """The whole list: the first thing a follower sees, and again after every loss of continuity."""

    items: list[Json]


@dataclass(frozen=True, slots=True)
class Changed:
    """One object was added or modified, or (`gone`) deleted."""

    item: Json
    gone: bool


class Cluster:
    """A connection to the API server. Closes: with `close`."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls, kubeconfig: str | None) -> "Cluster":
        """By a kubeconfig file, or by the pod's own service account when there is none.

        Raises: ApiFailed: neither is there.
        """
        settings = client.Configuration()
        try:
            if kubeconfig or "KUBECONFIG" in os.environ:
                await config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
            else:
                config.load_incluster_config(client_configuration=settings)
        except config.ConfigException as exc:
            raise ApiFailed(0, f"no way to the Kubernetes API: {exc}") from exc
        return cls(client.ApiClient(settings))

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def request(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Json:
        """One call; its JSON answer. Raises: ApiFailed."""
        response = await self._call(method, path, {}, body, content_type)
        try:
            text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise ApiFailed(0, f"{method} {path}: {exc}") from exc
        if not 200 <= response.status < 300:
            raise ApiFailed(response.status, f"{method} {path}: {_message(text)}")
        value = json.loads(text)
        return value if isinstance(value, dict) else {}

    async def find(self, path: str) -> Json | None:
        """One object, or None when there is none. Raises: ApiFailed."""
        try:
            return await self.request("GET", path)
        except ApiFailed as exc:
            if exc.code == 404:
                return None
            raise

    async def follow(self, path: str, field_selector: str = "") -> AsyncIterator[Listed | Changed]:
        """List and watch a collection, for ever. What cannot be had is logged and tried again with growing pauses."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async for event in self._follow_once(path, field_selector):
                    pause = _FIRST_PAUSE
                    yield event
            except ApiFailed as exc:
                # 410 Gone: our resourceVersion is too old; only a new list helps, and at once.
                if exc.code != 410:
                    _log.warning("following %s: %s; next try in %.1f s", path, exc, pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)

    async def _follow_once(self, path: str, field_selector: str) -> AsyncIterator[Listed | Changed]:
        query = {"fieldSelector": field_selector} if field_selector else {}
        response = await self._call("GET", path, query)
        text = await response.read()
        if response.status != 200:
            raise ApiFailed(response.status, f"GET {path}: {_message(text)}")
        whole = json.loads(text)
        yield Listed(list(whole.get("items") or []))
        version = whole["metadata"]["resourceVersion"]
        while True:
            watch = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
            response = await self._call("GET", path, {**query, **watch, "resourceVersion": version}, stream=True)
            try:
                if response.status != 200:
                    raise ApiFailed(response.status, f"watch {path}: {_message(await response.read())}")
                async for line in response.response.content:
                    event = json.loads(line)
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiFailed(int(item.get("code") or 500), f"watch {path}: {item.get('message')}")
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield Changed(item, event["type"] == "DELETED")
            except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
                raise ApiFailed(0, f"watch {path}: {exc!r}") from exc
            finally:
                response.response.close()

    async def _call(
        self, method: str, path: str, query: Mapping[str, str], body: object = None,
        content_type: str = "application/json", *, stream: bool = False,
    ) -> Any:  # fmt: skip
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        # A watch may be silent for its whole life and a little longer; anything else has ten seconds.
        quiet = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_WATCH_SECONDS + 30)
        timeout = quiet if stream else aiohttp.ClientTimeout(total=10)
        try:
            return await self._api.call_api(*request, _request_timeout=timeout)
        except client.ApiException as exc:
            raise ApiFailed(exc.status or 0, f"{method} {path}: {exc.reason}") from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise ApiFailed(0, f"{method} {path}: {exc!r}") from exc


def _message(text: bytes) -> str:
    """The `message` of a Status, or the beginning of what came instead."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200].decode(errors="replace")
