import pytest

from mesh.model.match import HeaderMatch, PathKind, PathMatch, RouteMatch, StringKind, StringMatch
from mesh.model.route import DirectResponse, HeaderMutation
from mesh.xds.kind import Kind
from tests.support.xds_json import from_json, refused

ROUTE = {"match": {"prefix": "/"}, "route": {"cluster": "c"}}
AT = "virtual_hosts[0].routes[0]"


def config(route: dict, **fields) -> dict:
    return {"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [route]}], **fields}


def decoded(**fields):
    return from_json(Kind.ROUTE, config(ROUTE | fields)).virtual_hosts[0].routes[0]


def header(**fields) -> HeaderMatch:
    return decoded(match={"prefix": "/", "headers": [{"name": "X-A", **fields}]}).match.headers[0]


def test_direct_response_limit_is_envoys_unless_said():
    assert from_json(Kind.ROUTE, {"name": "r"}).max_direct_response_bytes == 4096


def test_header_names_are_lowered():
    assert header(present_match=True) == HeaderMatch("x-a")


def test_present_match_false_means_absent():
    assert header(present_match=False) == HeaderMatch("x-a", None, True)
    assert header(present_match=False, invert_match=True) == HeaderMatch("x-a")


def test_older_header_matches_are_understood():
    assert header(prefix_match="a").value == StringMatch(StringKind.PREFIX, "a")
    assert header(safe_regex_match={"regex": "a"}).value == StringMatch(StringKind.REGEX, "a")


def test_a_missing_header_may_count_as_empty():
    wanted = HeaderMatch("x-a", StringMatch(StringKind.EXACT, "a"), True, True)
    assert header(string_match={"exact": "a"}, invert_match=True, treat_missing_header_as_empty=True) == wanted
    present = {"name": "x", "present_match": True, "treat_missing_header_as_empty": True}
    field = ".match.headers[0].treat_missing_header_as_empty"
    assert refused(Kind.ROUTE, config(ROUTE | {"match": {"prefix": "/", "headers": [present]}})) == AT + field


def test_grpc_is_a_content_type():
    match = decoded(match={"prefix": "/", "grpc": {}}).match
    assert match.headers[0].name == "content-type"


def test_case_insensitive_prefix():
    match = decoded(match={"prefix": "/A", "case_sensitive": False}).match
    assert match == RouteMatch(PathMatch(PathKind.PREFIX, "/A", True))


def test_later_overwrite_beats_earlier_addition():
    options = [
        {"header": {"key": "A", "value": "1"}},
        {"header": {"key": "a", "value": "2"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "a", "value": "3"}},
    ]
    assert decoded(request_headers_to_add=options).request_headers == HeaderMutation(
        set=(("a", "2"),), add=(("a", "3"),)
    )


def test_older_append_flag_is_understood():
    options = [{"header": {"key": "a", "value": "1"}, "append": False}]
    assert decoded(response_headers_to_add=options).response_headers == HeaderMutation(set=(("a", "1"),))


def test_direct_response_body():
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 404, "body": {"inline_string": "no"}}}
    assert from_json(Kind.ROUTE, config(route)).virtual_hosts[0].routes[0].action == DirectResponse(404, b"no")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"match": {}}, ".match"),
        ({"match": {"connect_matcher": {}}}, ".match.connect_matcher"),
        ({"match": {"prefix": "/", "tls_context": {}}}, ".match.tls_context"),
        (
            {"match": {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 5}}}},
            ".match.runtime_fraction",
        ),
        ({"match": {"prefix": "/", "headers": [{"name": "a", "range_match": {}}]}}, ".match.headers[0].range_match"),
        ({"tracing": {}}, ".tracing"),
        (
            {"request_headers_to_add": [{"header": {"key": "a", "value": "b"}, "append_action": "ADD_IF_ABSENT"}]},
            ".request_headers_to_add[0].append_action",
        ),
    ],
)
def test_what_would_change_behaviour_is_refused(fields, field):
    assert refused(Kind.ROUTE, config(ROUTE | fields)) == AT + field


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (config({"match": {"prefix": "/"}}), AT),
        (config({"match": {"prefix": "/"}, "filter_action": {}}), f"{AT}.filter_action"),
        (config(ROUTE, vhds={}), "vhds"),
        (config(ROUTE, request_headers_to_remove=["a"]), "request_headers_to_remove"),
        ({"name": "r", "virtual_hosts": [{"name": "h"}]}, "virtual_hosts[0].domains"),
        (
            {"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"], "require_tls": "EXTERNAL_ONLY"}]},
            "virtual_hosts[0].require_tls",
        ),
        (
            {"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"], "retry_policy": {}}]},
            "virtual_hosts[0].retry_policy",
        ),
    ],
)
def test_unsupported_surroundings_are_refused(document, field):
    assert refused(Kind.ROUTE, document) == field
