"""The bundled published numbers against values typed a second time, and against each other."""

from collections.abc import Iterator

import pytest

from wsol.leaderboards.published import PublishedNumber, read_published

NETWORKS = ("VGG16", "InceptionV3", "ResNet50")

# Zhou et al., localization and classification error on ILSVRC's validation set, top-1/top-5
ZHOU_LOC = """
GoogLeNet-GAP cam 56.40/43.00; VGGnet-GAP cam 57.20/45.14; GoogLeNet cam 60.09/49.34; AlexNet*-GAP cam 63.75/49.53
AlexNet-GAP cam 67.19/52.16; NIN cam 65.47/54.19; GoogLeNet-GMP cam 57.78/45.26; GoogLeNet backprop 61.31/50.55
VGGnet backprop 61.12/51.46; AlexNet backprop 65.17/52.64
"""
ZHOU_CLS = """
GoogLeNet-GAP 35.0/13.2; VGGnet-GAP 33.4/12.2; AlexNet*-GAP 44.9/20.9; AlexNet-GAP 51.1/26.3; GoogLeNet 31.9/11.3
VGGnet 31.2/11.4; AlexNet 42.6/19.5; NIN 41.9/19.6; GoogLeNet-GMP 35.6/13.9
"""
ZHOU_TEST = {
    ("GoogLeNet-GAP", "cam", "top5_loc_err_pairs"): 37.1, ("GoogLeNet-GAP", "cam", "top5_loc_err"): 42.9,
    ("", "backprop", "top5_loc_err"): 46.4, ("GoogLeNet", "supervised", "top5_loc_err"): 26.7,
    ("OverFeat", "supervised", "top5_loc_err"): 29.9,
}  # fmt: skip

# Choe et al.: CAM, differences to it, the two baselines; ImageNet | CUB | OpenImages
CHOE = """
cam 60.0/63.4/63.7 | 63.7/56.7/63.0 | 58.3/63.2/58.5
has +.6/+.3/-.3 | 0/-3.3/+1.7 | -.2/-5.1/-2.6
acol -2.6/+.3/-1.4 | -6.3/-.5/+3.5 | -4.0/-6.0/-1.2
spg -.1/-.1/-.4 | -7.4/-.8/-2.6 | 0/-.9/-1.8
adl -.2/-2.0/0 | +2.6/+2.1/-4.6 | +.4/-6.4/-3.3
cutmix -.6/+.5/-.4 | -1.4/+.8/-.2 | -.2/-.7/-.8
few-shot 60.3/65.3/66.3 | 71.6/86.6/82.4 | 65.9/74.1/74.4
"""
CENTER = {"ilsvrc": 52.5, "cub": 59.7, "openimages30k": 45.8}

# Kim et al.: mean over the networks that the table prints; ImageNet, CUB, OpenImages
KIM_MEANS = """
cam minmax 62.36 61.13 60.01; cam max 63.50 62.37 61.37; cam pas 63.57 60.23 57.21; cam ivr 64.18 64.29 60.62
has minmax 62.57 60.58 57.39; has max 63.62 65.37 59.18; has pas 63.72 58.09 55.54; has ivr 64.08 67.85 58.59
acol minmax 61.14 59.99 56.26; acol max 60.95 59.68 55.74; acol pas 61.51 59.90 52.14; acol ivr 61.55 61.78 57.00
spg minmax 62.15 57.52 59.11; spg max 63.04 59.24 60.37; spg pas 63.16 56.17 56.62; spg ivr 63.65 61.73 59.87
adl minmax 61.65 61.14 56.88; adl max 63.56 63.40 57.75; adl pas 62.55 59.65 54.49; adl ivr 64.26 63.94 57.05
cutmix minmax 62.20 60.83 59.45; cutmix max 63.39 64.14 61.32; cutmix pas 63.30 59.90 57.10
cutmix ivr 63.84 66.80 60.36
"""
MISPRINTED = {("cam", "pas", "cub"), ("acol", "minmax", "openimages30k"), ("acol", "max", "openimages30k"),
              ("cutmix", "pas", "cub")}  # fmt: skip

# Accuracies that the authors print: source, model, method, CUB top-1/top-5/GT-known, ILSVRC likewise, tau CUB, ILSVRC
FIXED = """
Gao DeiT-S ts-cam 71.3/83.8/87.7 53.4/64.3/67.6 .1 .12
Bai DeiT-S scm 76.4/91.6/96.6 56.1/66.4/68.8 oracle oracle
Su Deit-TRT trt 76.5/88.0/91.1 58.8/68.3/70.7 .1 .12
Wu DeiT-S sat 80.96/94.13/98.45 60.15/70.52/73.13 .4 .3
Zhao Stable-Diffusion genpromp 87.0/96.1/98.0 65.2/73.4/75.0 .23 .25
Xie ResNet50 c2am 76.36/89.15/93.40 54.41/64.77/67.80 - -
Wu VGG16 bas 71.33/85.33/91.07 52.96/65.41/69.64 .15 .5
Wu ResNet50 bas 77.25/90.08/95.13 57.18/68.44/71.77 .15 .45
Wu InceptionV3 bas 73.29/86.31/92.24 58.51/69.00/71.93 .1 .3
"""
# ILSVRC MaxBoxAccV2 at IoU 0.5 ("GT-known") and mean, CUB likewise and PxAP, OpenImages PxAP
ORACLE = """
cam 70.27 68.23 81.83 69.87 74.70 65.42
bagcams 72.08 69.97 94.01 84.88 90.38 67.68
"""
ORACLE_COLUMNS = (
    ("ilsvrc", "max_box_acc_v2_50"),
    ("ilsvrc", "max_box_acc_v2"),
    ("cub", "max_box_acc_v2_50"),
    ("cub", "max_box_acc_v2"),
    ("cub", "pxap"),
    ("openimages30k", "pxap"),
)
CORLOC = {
    "tokencut": {("voc", 5011): 68.8, ("voc", 11540): 72.1, ("coco20k", 19817): 58.8},
    "lost": {("voc", 5011): 61.9, ("voc", 11540): 64.0, ("coco20k", 19817): 50.7},
}


@pytest.fixture(scope="module")
def numbers() -> list[PublishedNumber]:
    return read_published()


def entries(text: str) -> Iterator[list[str]]:
    for entry in text.replace("\n", ";").split(";"):
        if entry.strip():
            yield entry.split()


def by_authors(numbers: list[PublishedNumber], first: str, year: int) -> list[PublishedNumber]:
    return [n for n in numbers if n.source.startswith(f"{first} et al.") and n.year == year and not n.quoted_by]


def test_zhou(numbers: list[PublishedNumber]) -> None:
    expected = {("hidden", *key): value for key, value in ZHOU_TEST.items()}
    for model, method, values in entries(ZHOU_LOC):
        for k, value in zip((1, 5), values.split("/"), strict=True):
            expected["test", model, method, f"top{k}_loc_err"] = float(value)
    for model, values in entries(ZHOU_CLS):
        for k, value in zip((1, 5), values.split("/"), strict=True):
            expected["test", model, "", f"top{k}_cls_err"] = float(value)
    rows = by_authors(numbers, "Zhou", 2016)
    assert {(n.split, n.model, n.method, n.metric): n.value for n in rows} == expected
    assert len(rows) == len(expected) == 43
    assert {n.tau for n in rows if n.method == "cam"} == {0.2}


def test_choe(numbers: list[PublishedNumber]) -> None:
    expected = {(dataset, "", "center-gaussian"): value for dataset, value in CENTER.items()}
    cam: dict[tuple[str, str], float] = {}
    for line in CHOE.strip().splitlines():
        method, _, rest = line.partition(" ")
        for dataset, values in zip(CENTER, rest.split("|"), strict=True):
            for model, value in zip(NETWORKS, values.split("/"), strict=True):
                if method == "cam":
                    cam[dataset, model] = float(value)
                base = 0 if method in ("cam", "few-shot") else cam[dataset, model]
                expected[dataset, model, method] = round(base + float(value), 1)
    rows = by_authors(numbers, "Choe", 2020)
    assert {(n.dataset, n.model, n.method): n.value for n in rows} == expected
    assert len(rows) == 66
    assert {(n.dataset == "openimages30k", n.metric, n.tau_rule) for n in rows} == {
        (True, "pxap", ""), (False, "max_box_acc_v2", "oracle")
    }  # fmt: skip


def kim_cells(numbers: list[PublishedNumber]) -> dict[tuple[str, str, str], dict[str, PublishedNumber]]:
    cells: dict[tuple[str, str, str], dict[str, PublishedNumber]] = {}
    for n in by_authors(numbers, "Kim", 2021):
        cells.setdefault((n.method, n.protocol.removeprefix("wsolevaluation:norm=").partition(",")[0], n.dataset), {})[
            n.model
        ] = n
    return cells


def test_kim_means_are_those_that_the_table_prints(numbers: list[PublishedNumber]) -> None:
    cells = kim_cells(numbers)
    assert len(cells) == 6 * 4 * 3
    for method, norm, *means in entries(KIM_MEANS):
        for dataset, mean in zip(CENTER, means, strict=True):
            row = cells[method, norm, dataset]
            assert tuple(row) == NETWORKS
            agrees = sum(n.value for n in row.values()) / 3 == pytest.approx(float(mean), abs=0.0101)
            assert agrees == ((method, norm, dataset) not in MISPRINTED)
            assert {"is misprinted" in n.note for n in row.values()} == {not agrees}


def test_kim_repeats_choe_with_minmax(numbers: list[PublishedNumber]) -> None:
    cells = kim_cells(numbers)
    differ = {}
    for n in by_authors(numbers, "Choe", 2020):
        if n.model and n.method != "few-shot":
            repeated = cells[n.method, "minmax", n.dataset][n.model].value
            if abs(repeated - n.value) > 0.1:  # two roundings to a tenth
                differ[n.dataset, n.model, n.method] = (n.value, repeated)
    assert differ == {("openimages30k", "InceptionV3", "acol"): (57.2, 57.02)}


def test_numbers_at_a_fixed_tau(numbers: list[PublishedNumber]) -> None:
    own = {(n.source.split()[0], n.dataset, n.model.replace(" ", "-"), n.method, n.metric): n
           for n in numbers if not n.quoted_by}  # fmt: skip
    for author, model, method, cub, ilsvrc, *taus in entries(FIXED):
        for dataset, printed, tau in zip(("cub", "ilsvrc"), (cub, ilsvrc), taus, strict=True):
            top1, top5, gt_known = map(float, printed.split("/"))
            values = {"top1_loc_err": 100 - top1, "top5_loc_err": 100 - top5, "gt_known_loc_acc": gt_known}
            for metric, value in values.items():
                number = own[author, dataset, model, method, metric]
                assert number.value == pytest.approx(value, abs=1e-9)
                assert number.tau == (None if tau in ("-", "oracle") else float(tau))
                assert number.tau_rule == {"-": "", "oracle": "oracle"}.get(tau, "fixed")
                assert bool(number.classifier) == (metric != "gt_known_loc_acc")


def test_numbers_at_the_oracle_tau_and_corloc(numbers: list[PublishedNumber]) -> None:
    for method, *values in entries(ORACLE):
        rows = [n for n in numbers if (n.model, n.method, n.quoted_by) == ("DA-WSOL-ResNet", method, "")]
        assert {(n.dataset, n.metric): n.value for n in rows} == dict(
            zip(ORACLE_COLUMNS, map(float, values), strict=True)
        )
        assert {n.tau_rule for n in rows if n.metric != "pxap"} == {"oracle"}
    for method, values in CORLOC.items():
        rows = [n for n in numbers if n.method == method and n.dataset != "cub"]
        assert {(n.dataset, n.n): n.value for n in rows} == values
    (cub,) = [n for n in numbers if n.method == "tokencut" and n.dataset == "cub"]
    assert (cub.metric, cub.value) == ("gt_known_loc_acc", 91.4)


def test_contradicting_copies_both_stand(numbers: list[PublishedNumber]) -> None:
    top5 = {n.quoted_by: 100 - n.value for n in numbers
            if (n.dataset, n.model, n.method, n.metric) == ("ilsvrc", "ResNet50", "bas", "top5_loc_err")}  # fmt: skip
    assert top5 == pytest.approx(
        {"": 68.44, "Wu et al., ICCV 2023 (SAT)": 68.44, "Zhao et al., ICCV 2023 (GenPromp)": 67.4}
    )


def test_a_copy_is_the_rounded_original_or_says_that_it_contradicts(numbers: list[PublishedNumber]) -> None:
    originals = {(n.source, n.dataset, n.model, n.method, n.metric): n.value for n in numbers if not n.quoted_by}
    contradicting = 0
    for n in numbers:
        original = originals.get((n.source, n.dataset, n.model, n.method, n.metric))
        if n.quoted_by and original is not None:
            agrees = abs(n.value - original) < 0.0501
            assert agrees == ("contradicts" not in n.note), n
            contradicting += not agrees
    assert contradicting == 1


def test_every_row_is_complete(numbers: list[PublishedNumber]) -> None:
    names = {n.protocol.partition(":")[0] for n in numbers}
    own = {name for name in names if name.endswith("own evaluation") or "own evaluation " in name}
    assert names - own == {"zhou2016", "wsolevaluation", "tscam", "crop224"}
    for n in numbers:
        assert n.source
        assert n.place
        assert n.n > 0
        assert n.classifier or "_loc_err" not in n.metric
        if n.protocol.partition(":")[0] in ("wsolevaluation", "tscam", "crop224"):
            assert "norm=" in n.protocol
    keys = [(n.source, n.dataset, n.n, n.split, n.model, n.method, n.metric, n.protocol, n.quoted_by) for n in numbers]
    assert len(set(keys)) == len(keys)
