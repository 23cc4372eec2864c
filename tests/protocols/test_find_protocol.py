import pytest

from wsol.errors import InputError
from wsol.protocols import PROTOCOLS, find_protocol


@pytest.mark.parametrize(
    "text",
    [
        "wsolevaluation:step=0.001", "wsolevaluation:step=0.01", "wsolevaluation:step=0.01,delta=0.3,size=112",
        "exact:levels=256", "exact:levels=11,delta=0.7", "zhou2016:box=paper,crops=10,step=0.01",
        "zhou2016:box=script,crops=1", "zhou2016:box=paper,crops=1,step=0.05,delta=0.3",
    ],
)  # fmt: skip
def test_a_signature_names_its_protocol(text: str) -> None:
    assert find_protocol(text).signature == text
    assert hash(find_protocol(text)) == hash(find_protocol(text))


def test_defaults() -> None:
    for name in PROTOCOLS.names():
        assert find_protocol(name) is not None
        assert find_protocol(find_protocol(name).signature) == PROTOCOLS.get(name)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("wsolevaluatoin", "unknown protocol 'wsolevaluatoin'; did you mean wsolevaluation"),
        ("exact:step=0.1", "unknown setting 'step=0.1'; it takes levels, delta"),
        ("exact:levels=many", "levels cannot be 'many'"),
        ("exact:levels", "levels cannot be ''"),
        ("exact:levels=1", "levels lies from 2"),
        ("zhou2016:box=best", "box is paper or script"),
        ("zhou2016:crops=5", "crops is 1 or 10"),
        ("wsolevaluation:step=0", "step lies from"),
        ("wsolevaluation:delta=nan", "delta above 0"),
    ],
)
def test_what_cannot_be_says_why(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_protocol(text)
