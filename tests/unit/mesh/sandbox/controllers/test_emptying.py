"""Namespaces filled and emptied in a real API."""

from pathlib import Path
from typing import Any

from mesh.sandbox.controllers.discovery import Discovery
from mesh.sandbox.controllers.emptying import namespace_queue
from mesh.sandbox.controllers.namespaces import ROOT_CA
from mesh.sandbox.kubeclient import CONFIGMAPS, CRDS, NAMESPACES, SECRETS, SERVICE_ACCOUNTS
from tests.support.controllers_api import Controllers, controllers, exists, is_gone

Json = dict[str, Any]


def named(kind: str, name: str, **more: Any) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **more}}


async def begin(here: Controllers, directory: Path) -> None:
    """Run the controller, and make a namespace `ns`."""
    here.shell.informer(SECRETS)
    (directory / "ca.crt").write_text("PEM")
    queue = namespace_queue(here.shell, Discovery(here.client, here.shell.informer(CRDS)), directory / "ca.crt")
    await here.start(queue.run)
    await here.client.create(NAMESPACES, "", named("Namespace", "ns"))


async def test_a_namespace_gets_an_account_and_the_root_certificate_and_keeps_them(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        await begin(here, tmp_path)
        await here.until(SERVICE_ACCOUNTS, "default", exists, "ns")
        found = await here.until(CONFIGMAPS, ROOT_CA, exists, "ns")
        assert found["data"] == {"ca.crt": "PEM"}
        await here.client.patch(CONFIGMAPS, "ns", ROOT_CA, {"data": {"ca.crt": "other"}})
        await here.until(CONFIGMAPS, ROOT_CA, lambda item: item is not None and item["data"]["ca.crt"] == "PEM", "ns")
        uid = found["metadata"]["uid"]
        await here.client.delete(CONFIGMAPS, "ns", ROOT_CA)
        await here.until(CONFIGMAPS, ROOT_CA, lambda item: item is not None and item["metadata"]["uid"] != uid, "ns")


async def test_a_deleted_namespace_is_emptied_and_waits_for_finalizers(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        await begin(here, tmp_path)
        await here.until(CONFIGMAPS, ROOT_CA, exists, "ns")
        await here.client.create(SECRETS, "ns", named("Secret", "plain"))
        await here.client.create(SECRETS, "ns", named("Secret", "held", finalizers=["example.com/hold"]))
        await here.client.delete(NAMESPACES, "", "ns")
        await here.until(SECRETS, "plain", is_gone, "ns")
        await here.until(SECRETS, "held", lambda item: item is not None and "deletionTimestamp" in item["metadata"], "ns")
        await here.until(CONFIGMAPS, ROOT_CA, is_gone, "ns")  # and it is not made again in a namespace that goes
        assert here.shell.informer(NAMESPACES).get("", "ns") is not None
        await here.client.patch(SECRETS, "ns", "held", {"metadata": {"finalizers": None}})
        await here.until(NAMESPACES, "ns", is_gone)
