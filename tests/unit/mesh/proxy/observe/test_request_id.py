import random

from mesh.proxy.observe.digits import Digits
from mesh.proxy.observe.request_id import make_request_id


def ids(digit: str) -> bytes:
    return make_request_id(Digits(lambda bits: int(digit * (bits // 4), 16)))


def test_version_and_variant_are_marked() -> None:
    assert ids("1") == b"11111111-1111-4111-9111-111111111111"
    assert ids("c") == b"cccccccc-cccc-4ccc-8ccc-cccccccccccc"
    assert ids("f") == b"ffffffff-ffff-4fff-bfff-ffffffffffff"


def test_no_two_ids_are_alike() -> None:
    digits = Digits(random.Random(1).getrandbits)
    made = [make_request_id(digits) for _ in range(1000)]
    assert len(set(made)) == 1000 and {len(each) for each in made} == {36}
