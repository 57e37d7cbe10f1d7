from mesh.proxy.observe.request_id import make_request_id


def test_version_and_variant_are_marked() -> None:
    assert make_request_id(lambda _: 0) == b"00000000-0000-4000-8000-000000000000"
    assert make_request_id(lambda _: (1 << 128) - 1) == b"ffffffff-ffff-4fff-bfff-ffffffffffff"
