"""Settings that are absurd: numbers, names and rules on the command line, a sentence each."""

import re
from pathlib import Path

import pytest
from commands import images, lists, refusal

import wsol
from wsol.errors import InputError
from wsol.eval import main as evaluate
from wsol.leaderboard import main as leaderboard
from wsol.protocols import find_protocol
from wsol.registry import Registry
from wsol.runs.signature import Signature
from wsol.score import main as score

RANGE = r"protocol wsolevaluation: step must be from 0\.0001 to 1, delta above 0 and up to 1, size from 2 to 4096"
PROTOCOLS = {
    "wsolevaluation:size=1e400": "protocol wsolevaluation: size cannot be '1e400'; give an integer, such as",
    f"wsolevaluation:size={'9' * 10_000}": "protocol wsolevaluation: size cannot be '9999",
    "wsolevaluation:size=1000000": RANGE,
    "wsolevaluation:size=-1": RANGE,
    "wsolevaluation:size=": "protocol wsolevaluation: size cannot be ''",
    "wsolevaluation:step=nan": RANGE,
    "wsolevaluation:step=1e-300": RANGE,
    f"wsolevaluation:step={'9' * 10_000}": RANGE,
    "wsolevaluation:delta=inf": RANGE,
    "wsolevaluation:delta=-0.0": RANGE,
    "exact:levels=999999999999": "protocol exact: levels must be from 2 to 30000",
    "exact:levels=½": "protocol exact: levels cannot be '½'",
    "zhou2016:crops=10000000": "protocol zhou2016: box must be paper or script, crops 1 or 10",
    "zhou2016:step=nan": "protocol zhou2016: step must be from",
    "zhou2016:box=../../x": "protocol zhou2016: box must be paper or script",
    f"wsolevaluation:{'x' * 10_000}": "protocol wsolevaluation: unknown setting 'xxx",
    "wsolevaluation:__class__=1": "protocol wsolevaluation: unknown setting '__class__=1'",
    f"{'x' * 10_000}": "unknown protocol 'xxx",
    "../exact": r"unknown protocol '\.\./exact'",
    "_view": "unknown protocol '_view'",
    "base": "unknown protocol 'base'",
    "\n": r"unknown protocol '\\n'",
    "": "unknown protocol ''",
}


@pytest.mark.parametrize(("text", "sentence"), PROTOCOLS.items(), ids=[f"{i}" for i in range(len(PROTOCOLS))])
def test_protocols(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{sentence}") as caught:
        find_protocol(text)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_digits_of_other_scripts_mean_what_they_say() -> None:
    assert find_protocol("wsolevaluation:size=٣٢").signature == "wsolevaluation:step=0.001,size=32,norm=minmax"


@pytest.mark.parametrize("text", ["", "a|b", "|" * 6, "\n" * 9, "x" * 10_000 + "|"])
def test_signatures(text: str) -> None:
    with pytest.raises(InputError, match="is no signature: it should have 6 fields") as caught:
        Signature.parse(text)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_a_registry_imports_only_its_own_modules() -> None:
    registry: Registry[object] = Registry("thing", "wsol.protocols")
    for name in ("os", "../os", "wsol.train", "_masks", "", "\0"):
        with pytest.raises(InputError, match="unknown thing"):
            registry.get(name)


@pytest.mark.parametrize("tau", [float("nan"), float("inf"), -1.0, 1e308, 2.0, "1e400", "0,2"])
def test_taus(tau: float | str) -> None:
    with pytest.raises(InputError, match="tau") as caught:
        wsol.score(baseline="center-box", dataset=images(), tau=tau)
    assert "\n" not in str(caught.value)


COMMANDS = {
    "size": (score, ["--baseline", "center-box", "--protocol", "wsolevaluation:size=1000000"], RANGE),
    "tau": (score, ["--baseline", "center-box", "--tau", "nan"], "tau nan"),
    "baseline": (score, ["--baseline", "../x"], r"unknown baseline '\.\./x'"),
    "data set": (evaluate, ["--dataset", "../x"], r"unknown data set '\.\./x'"),
    "argument": (
        evaluate,
        ["--dataset", "synthetic", "--dataset-arg", "__class__=1"],
        "unknown --dataset-arg '__class__'",
    ),
    "method": (evaluate, ["--method", "__import__('os')"], "unknown method"),
    "published": (
        leaderboard,
        ["FOLDER", "--with-published", "FOLDER"],
        "FOLDER contains no tables of published numbers",
    ),
}


@pytest.mark.parametrize(("main", "argv", "sentence"), COMMANDS.values(), ids=COMMANDS)
def test_the_commands(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str],
    main: object, argv: list[str], sentence: str,
) -> None:  # fmt: skip
    more = ["--metadata", lists(tmp_path)] if main is score else []
    given = [tmp_path if word == "FOLDER" else word for word in argv]
    said = refusal(main, [*given, *more, "--out", tmp_path_factory.mktemp("out") / "run"], tmp_path, capfd)
    assert re.search(sentence.replace("FOLDER", str(tmp_path)), said)


@pytest.mark.parametrize("year", ["1e400", "nan", "9" * 10_000, "MMXX", ""])
def test_published_numbers(tmp_path: Path, year: str) -> None:
    columns = (
        "source,year,place,dataset,split,n,model,method,metric,tau_rule,tau,protocol,classifier,value,quoted_by,note"
    )
    row = f"A,{year},T,d,test,4,m,c,gt_known_loc_acc,fixed,0.2,exact,,50,,"
    (tmp_path / "t.csv").write_text(f"{columns}\n{row}\n")
    with pytest.raises(InputError, match=r"t\.csv, line 2: .* is not a number; fix the field") as caught:
        wsol.leaderboard(tmp_path, published=tmp_path)
    assert len(str(caught.value)) < 500
