from dataclasses import dataclass, replace

import pytest

from wsol.errors import InputError
from wsol.protocols import PROTOCOLS, canonical_signature, find_protocol


@pytest.mark.parametrize(
    "text",
    [
        "wsolevaluation:step=0.001,norm=minmax", "wsolevaluation:step=0.01,norm=pas",
        "wsolevaluation:step=0.01,delta=0.3,size=112,norm=max", "wsolevaluation:step=0.001,norm=ivr,percentile=0.6",
        "wsolevaluation:step=0.001,norm=ivr,percentile=val=0.45", "exact:levels=256,norm=ivr,percentile=oracle=0",
        "exact:levels=256,norm=minmax", "exact:levels=11,delta=0.7,norm=max",
        "zhou2016:box=paper,crops=10,step=0.01,norm=max", "exact:levels=11,also=0.25,norm=minmax",
        "zhou2016:box=script,crops=1,merge=signed,resize=bilinear,jpeg=0,norm=max",
        "zhou2016:box=script,crops=10,merge=absolute,resize=matlab,jpeg=75,norm=max",
        "zhou2016:box=paper,crops=1,step=0.05,delta=0.3,norm=ivr,percentile=0.45",
    ],
)  # fmt: skip
def test_a_signature_names_its_protocol(text: str) -> None:
    assert find_protocol(text).signature == text
    assert hash(find_protocol(text)) == hash(find_protocol(text))


@pytest.mark.parametrize("name", PROTOCOLS.names())
def test_a_signature_is_read_back_as_its_protocol(name: str) -> None:
    protocol = PROTOCOLS.get(name)
    assert protocol.signature.partition(":")[0] == protocol.name == name
    assert find_protocol(name) == protocol
    assert find_protocol(protocol.signature) == protocol
    assert "delta" not in protocol.signature
    for delta in (1.0, 0.3, 1 / 3):
        other = replace(protocol, delta=delta)
        text = f"{delta:g}" if delta < 1 / 3 or delta == 1 else repr(delta)
        assert other.signature.endswith(f",delta={text},norm={protocol.norm}")
        assert find_protocol(other.signature) == other
        assert find_protocol(other.signature).delta == delta


def test_runs_of_before_have_the_defaults_of_settings_that_are_new() -> None:
    for before, now in (
        ("wsolevaluation:step=0.01,delta=0.3", "wsolevaluation:step=0.01,delta=0.3,norm=minmax"),
        ("exact:levels=256", "exact:levels=256,norm=minmax"),
        ("zhou2016:box=paper,crops=10,step=0.01", "zhou2016:box=paper,crops=10,step=0.01,norm=max"),
        ("of-a-user:size=3", "of-a-user:size=3"),
        ("wsolevaluation:unknown=3", "wsolevaluation:unknown=3"),
    ):
        assert canonical_signature(before) == canonical_signature(now) == now


def test_a_percentile_that_a_rule_has_to_choose() -> None:
    with pytest.raises(
        InputError, match=r"percentile=val: the rule val chooses a value .* wsol.eval --tau val --out RUN "
    ):
        find_protocol("wsolevaluation:norm=ivr,percentile=val")
    protocol = PROTOCOLS.find("exact:levels=11,norm=ivr,percentile=oracle")
    assert protocol.chosen_on == "oracle"
    assert [each.signature for each in protocol.candidates] == [
        f"exact:levels=11,norm=ivr,percentile=oracle={k / 20:g}" for k in range(20)
    ]
    chosen = find_protocol("exact:levels=11,norm=ivr,percentile=oracle=0.15")
    assert chosen == protocol.candidates[3]
    assert chosen.chosen_on is None
    assert {each.family for each in protocol.candidates} == {"exact:levels=11,norm=ivr,percentile=oracle=*"}
    for name in ("exact:norm=ivr,percentile=0.15", "exact", "wsolevaluation:norm=pas"):
        assert find_protocol(name).family == find_protocol(name).signature


def test_settings_with_more_than_six_digits_are_not_rounded() -> None:
    text = "wsolevaluation:step=0.00123456789,norm=ivr,percentile=0.123456789"
    assert find_protocol(text).signature == text


def test_a_protocol_of_a_user_has_all_its_settings_in_the_signature() -> None:
    @PROTOCOLS.register("test-only")
    @dataclass(frozen=True)
    class TestOnly(type(PROTOCOLS.get("exact"))):
        blur: bool = False
        sigma: float = 2.0

    assert PROTOCOLS.get("test-only").signature == "test-only:levels=256,norm=minmax,blur=false,sigma=2"
    changed = find_protocol("test-only:blur=true,delta=0.7,sigma=0.5")
    assert changed == TestOnly(delta=0.7, blur=True, sigma=0.5)
    assert changed.signature == "test-only:levels=256,delta=0.7,norm=minmax,blur=true,sigma=0.5"
    assert TestOnly() != PROTOCOLS.get("exact")
    del PROTOCOLS._entries["test-only"], PROTOCOLS._sources["test-only"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("wsolevaluatoin", "unknown protocol 'wsolevaluatoin'; did you mean wsolevaluation"),
        ("exact:step=0.1", "unknown setting 'step=0.1'; it takes levels, delta"),
        ("exact:levels=many", "levels cannot be 'many'"),
        ("exact:levels", "levels cannot be ''"),
        ("exact:levels=1", "levels must be from 2"),
        ("zhou2016:box=best", "box must be paper or script"),
        ("zhou2016:crops=5", "crops 1 or 10"),
        ("zhou2016:box=script,merge=mean", "merge must be absolute or signed"),
        ("zhou2016:box=script,jpeg=101", "jpeg must be a quality"),
        ("zhou2016:jpeg=0", "jpeg would be ignored with box=paper"),
        ("zhou2016:box=script,step=0.05", "step would be ignored with box=script"),
        ("wsolevaluation:step=0", "step must be from"),
        ("wsolevaluation:norm=min", "norm must be one of minmax, max, pas, ivr"),
        ("zhou2016:box=script,norm=minmax", "box=script divides maps by their maximum; leave out norm=minmax"),
        ("wsolevaluation:percentile=0.6", "percentile would be ignored with norm=minmax; leave that out"),
        ("exact:norm=pas,percentile=0.6", "percentile would be ignored with norm=pas; leave that out"),
        *[
            (
                f"wsolevaluation:norm=ivr,percentile={value}",
                f"percentile cannot be '{value}'; give a value, such as its default, 0.45",
            )
            for value in ("1", "-0.1", "nan", "", "best", "val=", "val=1", "oracle=val", "0.45=val", "valval", "1e")
        ],
        ("wsolevaluation:delta=nan", "delta above 0"),
    ],
)
def test_what_cannot_be_says_why(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_protocol(text)
