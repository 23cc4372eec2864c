import pytest

from wsol.errors import InputError
from wsol.runs.signature import Signature, signature_differences

ONE = "cub-test#5794:aa|vgg16-gap:3f2a|cam|wsolevaluation:step=0.001|tau:val(cub-val#9:b)=0.17|wsol:0.1"


def test_two_runs_say_in_what_they_differ() -> None:
    assert str(Signature.parse(ONE)) == ONE
    assert signature_differences(ONE, ONE) == []
    other = ONE.replace("0.001", "0.01").replace("wsol:0.1", "wsol:0.2")
    assert signature_differences(ONE, other) == [
        "protocol: wsolevaluation:step=0.001, not wsolevaluation:step=0.01",
        "version: wsol:0.1, not wsol:0.2",
    ]


def test_what_is_no_signature() -> None:
    with pytest.raises(InputError, match="should have 6 fields"):
        signature_differences(ONE, "a|b")
