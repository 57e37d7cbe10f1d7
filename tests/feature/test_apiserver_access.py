"""Who may do what: tokens, reviews, RBAC, impersonation, anonymous paths."""

from __future__ import annotations

import base64
import json

from kubernetes import client

from tests.support import apiserver as support
from tests.support.apiserver import ApiServer, call, pod

server = support.module_server
admin = support.module_admin

RBAC = "/apis/rbac.authorization.k8s.io/v1"
TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def token(admin: client.ApiClient, **spec: object) -> str:
    code, made, _ = call(admin, "POST", TOKEN, {"spec": spec})
    assert code == 201, made
    return str(made["status"]["token"])


def test_service_account_may_nothing_until_a_role_is_bound(server: ApiServer, admin: client.ApiClient) -> None:
    with server.api(token(admin)) as account:
        code, said, _ = call(account, "GET", "/api/v1/namespaces/default/pods")
        assert code == 403
        assert said["message"] == 'pods is forbidden: User "system:serviceaccount:default:default" cannot list resource "pods" in API group "" in the namespace "default"'
        subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
        role = {"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}
        binding = {"metadata": {"name": "reader"}, "roleRef": {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}, "subjects": [subject]}
        assert call(admin, "POST", f"{RBAC}/namespaces/default/roles", role)[0] == 201
        assert call(admin, "POST", f"{RBAC}/namespaces/default/rolebindings", binding)[0] == 201
        assert call(account, "GET", "/api/v1/namespaces/default/pods")[0] == 200
        assert call(account, "GET", "/api/v1/namespaces/kube-system/pods")[0] == 403
        assert call(account, "POST", "/api/v1/namespaces/default/pods", pod("no"))[0] == 403
        ask = {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}}
        assert call(account, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", ask)[1]["status"]["allowed"] is True
        assert call(admin, "DELETE", f"{RBAC}/namespaces/default/rolebindings/reader")[0] == 200
        assert call(account, "GET", "/api/v1/namespaces/default/pods")[0] == 403


def test_token_review_says_who_and_for_whom(admin: client.ApiClient) -> None:
    made = token(admin, audiences=["mesh"])
    _, good, _ = call(admin, "POST", REVIEW, {"spec": {"token": made, "audiences": ["other", "mesh"]}})
    assert good["status"]["authenticated"] is True and good["status"]["audiences"] == ["mesh"]
    assert good["status"]["user"]["username"] == "system:serviceaccount:default:default"
    _, wrong, _ = call(admin, "POST", REVIEW, {"spec": {"token": made}})
    assert not wrong["status"].get("authenticated") and "audiences" in wrong["status"]["error"]
    _, broken, _ = call(admin, "POST", REVIEW, {"spec": {"token": made[:-6] + "AAAAAA", "audiences": ["mesh"]}})
    assert not broken["status"].get("authenticated")


def test_token_dies_with_the_pod_it_is_bound_to(server: ApiServer, admin: client.ApiClient) -> None:
    _, made, _ = call(admin, "POST", "/api/v1/namespaces/default/pods", pod("bound"))
    bound = token(admin, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "bound", "uid": made["metadata"]["uid"]})
    claims = json.loads(base64.urlsafe_b64decode(bound.split(".")[1] + "=="))
    assert claims["kubernetes.io"]["pod"] == {"name": "bound", "uid": made["metadata"]["uid"]}
    with server.api(bound) as account:
        _, who, _ = call(account, "POST", WHO, {})
        assert who["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"] == ["bound"]
        call(admin, "DELETE", "/api/v1/namespaces/default/pods/bound")
        assert call(account, "POST", WHO, {})[0] == 401


def test_token_life_has_limits(admin: client.ApiClient) -> None:
    code, said, _ = call(admin, "POST", TOKEN, {"spec": {"expirationSeconds": 60}})
    assert code == 422 and said["details"]["causes"][0]["field"] == "spec.expirationSeconds"


def test_rubbish_token_is_unauthorized_and_nobody_is_forbidden(server: ApiServer) -> None:
    with server.api("rubbish") as api:
        assert call(api, "GET", "/api/v1/namespaces")[0] == 401
    with server.api() as api:
        api.rest_client.pool_manager.connection_pool_kw.update(cert_file=None, key_file=None)
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            assert call(api, "GET", path)[0] == 200
        code, said, _ = call(api, "GET", "/api/v1/namespaces")
        assert code == 403 and 'User "system:anonymous"' in said["message"]
        assert call(api, "GET", "/metrics")[0] == 403


def test_admin_may_impersonate(server: ApiServer) -> None:
    with server.api() as api:
        url = f"{api.configuration.host}/api/v1/namespaces/default/pods"
        answer = api.rest_client.pool_manager.request("GET", url, headers={"Impersonate-User": "jane", "Impersonate-Group": "dev"})
        assert answer.status == 403 and 'User \\"jane\\" cannot list' in answer.data.decode()


def test_issuer_is_discoverable_and_verifies(admin: client.ApiClient) -> None:
    _, found, _ = call(admin, "GET", "/.well-known/openid-configuration")
    _, keys, _ = call(admin, "GET", "/openid/v1/jwks")
    head = json.loads(base64.urlsafe_b64decode(token(admin).split(".")[0] + "=="))
    assert found["jwks_uri"].endswith("/openid/v1/jwks") and head["kid"] == keys["keys"][0]["kid"]


def test_pod_gets_its_service_account_volume(admin: client.ApiClient) -> None:
    _, made, _ = call(admin, "POST", "/api/v1/namespaces/default/pods", pod("volume"))
    volume = made["spec"]["volumes"][0]
    assert volume["name"].startswith("kube-api-access-") and volume["projected"]["sources"][0]["serviceAccountToken"] == {"expirationSeconds": 3607, "path": "token"}
    assert made["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    wanted = pod("nobody")
    wanted["spec"]["serviceAccountName"] = "missing"
    code, said, _ = call(admin, "POST", "/api/v1/namespaces/default/pods", wanted)
    assert code == 403 and 'serviceaccount "missing" not found' in said["message"]
