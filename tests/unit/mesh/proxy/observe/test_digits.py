import random

from mesh.proxy.observe.digits import Digits


def test_every_digit_is_used_once_and_batches_follow_each_other() -> None:
    seen: list[int] = []

    def bits(count: int) -> int:
        seen.append(count)
        return random.Random(len(seen)).getrandbits(count)

    digits = Digits(bits)
    text = b"".join(digits.take(32) for _ in range(256))
    assert text == b"%0*x" % (8192, random.Random(1).getrandbits(4 * 8192)) and len(seen) == 1
    assert len(digits.take(16)) == 16 and len(seen) == 2


def test_what_is_left_of_a_batch_is_not_made_longer() -> None:
    digits = Digits(random.Random(2).getrandbits)
    assert {len(digits.take(31)) for _ in range(1000)} == {31}


def test_an_id_is_never_all_zeros() -> None:
    digits = Digits(lambda _: 0)
    assert digits.take(16) == b"0000000000000001"
    assert Digits(lambda _: 0xABC).take(3) == b"001"
