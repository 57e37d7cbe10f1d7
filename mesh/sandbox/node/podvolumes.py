"""The volumes of one pod: directories and files made before its containers start, kept true to the API while they run."""

from typing import Any

import trio

from mesh.sandbox.kubeclient import SERVICE_ACCOUNTS, ApiError, Unreachable
from mesh.sandbox.node import volumefiles, volumes
from mesh.sandbox.node.context import Pod
from mesh.sandbox.node.podspec import SpecError
from mesh.sandbox.node.volumes import TokenWish
from mesh.sandbox.times import parse_stamp

Json = dict[str, Any]
_AGAIN_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.2
_RETRY_SECONDS = 2.0


class PodVolumes:
    """Concurrency: `prepare`, then one `refresh` task."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._tokens: dict[TokenWish, tuple[str, float]] = {}
        self._seen = trio.Event()

    async def prepare(self) -> None:
        """Make every volume, however often that takes: what one refers to may come later."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._seen = self._pod.config_changed
            try:
                for volume in self._pod.pod["spec"].get("volumes") or ():
                    await self._write(volume)
                return
            except SpecError as exc:
                self._pod.event("Warning", "FailedMount", str(exc))
                pause = _AGAIN_SECONDS
            except (ApiError, Unreachable) as exc:
                # A Node authorizer may learn later than we of a pod's node, and refuses its token until then: soon.
                if pause > _FIRST_PAUSE_SECONDS:
                    self._pod.event("Warning", "FailedMount", str(exc))
            with trio.move_on_after(pause):
                await self._seen.wait()
            pause = min(2 * pause, _AGAIN_SECONDS)

    async def refresh(self) -> None:
        """Follow changed ConfigMaps, Secrets and labels, and renew tokens, until cancelled. Returns when no volume can change."""
        data = [volume for volume in self._pod.pod["spec"].get("volumes") or () if volumes.is_data(volume)]
        while data:
            due = min((until for _, until in self._tokens.values()), default=float("inf"))
            with trio.move_on_after(max(0.0, due - self._pod.node.clock())):
                await self._seen.wait()
            self._seen = self._pod.config_changed
            for volume in data:
                try:
                    await self._write(volume)
                except (SpecError, ApiError, Unreachable) as exc:
                    self._pod.event("Warning", "FailedMount", str(exc))
                    await trio.sleep(_RETRY_SECONDS)

    async def _write(self, volume: Json) -> None:
        pod, node = self._pod.pod, self._pod.node
        path = self._pod.files.volume(volume["name"])
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if not volumes.is_data(volume):
            volumefiles.make_directory(path, volumes.directory(volume), group)
            return
        tokens = {wish: await self._token(wish) for wish in volumes.token_wishes(volume)}
        namespace = pod["metadata"]["namespace"]
        content = volumes.files(volume, pod, node.facts(self._pod.ip), lambda kind, name: node.lookup(namespace, kind, name), tokens)
        volumefiles.write_files(path, content, group)

    async def _token(self, wish: TokenWish) -> str:
        now = self._pod.node.clock()
        known = self._tokens.get(wish)
        if known is not None and now < known[1]:
            return known[0]
        meta, account = self._pod.pod["metadata"], self._pod.pod["spec"].get("serviceAccountName", "default")
        spec: Json = {
            "expirationSeconds": wish.seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        }
        if wish.audience:
            spec["audiences"] = [wish.audience]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._pod.node.client.create(SERVICE_ACCOUNTS, meta["namespace"], request, name=account, sub="token")
        ends = parse_stamp(answer["status"]["expirationTimestamp"])
        # Replaced at 80% of its life, as the kubelet does, so that no reader ever meets an expired one.
        self._tokens[wish] = (answer["status"]["token"], now + 0.8 * (ends - now))
        return str(answer["status"]["token"])
