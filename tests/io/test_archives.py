"""Archives that are fine, broken, or written to reach out of their folder."""

import io
import resource
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from wsol.errors import InputError
from wsol.io.archives import unpack_archive

REFUSED = "if you trust the archive, unpack it by hand into"
NAME = r"has a name that is absolute or contains '\.\.'"
KIND = "is a link or a device"
LED_OUT = "leads out of .*root by an existing link"


def tar(*members: tuple[str, bytes, str], mode: str = "w:gz") -> bytes:
    """A tar archive of members with name, type and link target."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"evil"))
    return file.getvalue()


def zip_(*members: tuple[str, int]) -> bytes:
    """A zip archive of members with name and Unix mode."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, mode in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, b"evil")
    return file.getvalue()


def encrypt(content: bytes) -> bytes:
    """Sets the flag of encryption in the directory of a zip archive of one member."""
    start = content.rindex(b"PK\x01\x02")
    return content[: start + 8] + bytes([content[start + 8] | 1]) + content[start + 9 :]


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
OUTWARD: dict[str, tuple[bytes, str, str]] = {
    "tar: climbs": (tar(("../evil.txt", FILE, "")), "../evil.txt", NAME),
    "tar: climbs inside": (tar(("deep/../../evil.txt", FILE, "")), "deep/../../evil.txt", NAME),
    "tar: absolute": (tar(("/evil.txt", FILE, "")), "/evil.txt", NAME),
    "tar: symbolic link that climbs": (tar(("a", LINK, "../evil.txt")), "a", KIND),
    "tar: absolute symbolic link": (tar(("a", LINK, "/etc/passwd")), "a", KIND),
    "tar: through its own link": (tar(("a", LINK, ".."), ("a/evil.txt", FILE, "")), "a", KIND),
    "tar: link in a folder": (tar(("d", tarfile.DIRTYPE, ""), ("d/a", LINK, "../..")), "d/a", KIND),
    "tar: hard link that climbs": (tar(("a", HARD, "../secret.txt"), ("a", FILE, "")), "a", KIND),
    "tar: absolute hard link": (tar(("a", HARD, "/etc/passwd")), "a", KIND),
    "tar: character device": (tar(("a", tarfile.CHRTYPE, "")), "a", KIND),
    "tar: block device": (tar(("a", tarfile.BLKTYPE, "")), "a", KIND),
    "tar: pipe": (tar(("a", tarfile.FIFOTYPE, "")), "a", KIND),
    "tar: an existing link": (tar(("out/evil.txt", FILE, "")), "out/evil.txt", LED_OUT),
    "zip: climbs": (zip_(("../evil.txt", 0)), "../evil.txt", NAME),
    "zip: climbs inside": (zip_(("deep/../../evil.txt", 0)), "deep/../../evil.txt", NAME),
    "zip: absolute": (zip_(("/evil.txt", 0)), "/evil.txt", NAME),
    "zip: symbolic link": (zip_(("good.txt", 0), ("a", stat.S_IFLNK | 0o777)), "a", KIND),
    "zip: character device": (zip_(("a", stat.S_IFCHR | 0o666)), "a", KIND),
    "zip: pipe": (zip_(("a", stat.S_IFIFO | 0o666)), "a", KIND),
    "zip: an existing link": (zip_(("out/evil.txt", 0)), "out/evil.txt", LED_OUT),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a link that leads out of it, next to a file that must not change."""
    (tmp_path / "secret.txt").write_text("kept")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "root"


def refuse(content: bytes, root: Path) -> str:
    """Returns the sentence of an archive that is refused."""
    (root.parent / "a.archive").write_bytes(content)
    with pytest.raises(InputError) as caught:
        unpack_archive(root.parent / "a.archive", root)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence


@pytest.mark.parametrize(("content", "member", "reason"), OUTWARD.values(), ids=OUTWARD)
def test_members_that_reach_out_are_refused(root: Path, content: bytes, member: str, reason: str) -> None:
    sentence = refuse(content, root)
    assert f"a.archive: the member {member!r} " in sentence
    assert REFUSED in sentence
    with pytest.raises(InputError, match=reason):
        unpack_archive(root.parent / "a.archive", root)
    assert not Path("/evil.txt").exists()
    assert sorted(path.name for path in root.parent.iterdir()) == ["a.archive", "elsewhere", "root", "secret.txt"]
    assert not [*(root.parent / "elsewhere").iterdir()]
    assert (root.parent / "secret.txt").read_text() == "kept"
    assert not [path for path in root.iterdir() if path.name not in ("out", "d")]


@pytest.mark.parametrize("long", [50, 247])
def test_no_chain_of_links_leads_out(root: Path, long: int) -> None:
    """Links longer than a path may be, which ``realpath`` does not resolve (CVE-2025-4517)."""
    members, folder = [], ""
    for step in "abcdefghijklmnop":
        members += [(f"{folder}{'d' * long}", tarfile.DIRTYPE, ""), (f"{folder}{step}", LINK, "d" * long)]
        folder += f"{step}/"
    members += [("escape", LINK, f"{folder}{'../' * 20}"), ("escape/evil.txt", FILE, "")]
    assert "the member 'a' is a link" in refuse(tar(*members), root)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is neither a zip nor a tar archive"),
        (b"<html>404 Not Found</html>", "it is neither a zip nor a tar archive"),
        (zip_(("a", 0))[:-30], "it is neither a zip nor a tar archive"),
        (tar(("a", FILE, ""))[:-20], "cannot be unpacked ("),
        (encrypt(zip_(("a", 0))), "is encrypted, password required for extraction); make room"),
        (zip_(("a", 0)).replace(b"evil", b"good"), "cannot be unpacked (Bad CRC-32 for file 'a'"),
        (tar(("a" * 300, FILE, "")), "cannot be unpacked ("),
    ],
    ids=["empty", "page", "cut zip", "cut tar", "encrypted", "checksum", "long name"],
)
def test_broken_archives_are_one_sentence(root: Path, content: bytes, sentence: str) -> None:
    said = refuse(content, root)
    assert sentence in said
    assert said.endswith("make room on the disk, or delete the file and try again")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_are_unpacked(root: Path, mode: str) -> None:
    unpack(root, tar((".", tarfile.DIRTYPE, ""), ("d", tarfile.DIRTYPE, ""), ("d/a..b", FILE, ""), mode=mode))
    assert (root / "d" / "a..b").read_bytes() == b"evil"


@pytest.mark.parametrize("mode", [0, stat.S_IFREG | 0o644, stat.S_IFREG | 0o4777])
def test_zip_archives_are_unpacked(root: Path, mode: int) -> None:
    unpack(root, zip_(("d/", 0), ("d/a..b", mode)))
    assert (root / "d" / "a..b").read_bytes() == b"evil"
    assert not (root / "d" / "a..b").stat().st_mode & stat.S_ISUID


def unpack(root: Path, content: bytes) -> None:
    (root.parent / "a.archive").write_bytes(content)
    unpack_archive(root.parent / "a.archive", root)


def test_the_folder_may_be_a_link_itself(root: Path) -> None:
    (root.parent / "linked").symlink_to(root)
    (root.parent / "a.archive").write_bytes(zip_(("a", 0)))
    unpack_archive(root.parent / "a.archive", root.parent / "linked")
    assert (root / "a").exists()


def test_a_tar_archive_waits_for_a_python_with_filters(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    assert "update Python, or unpack it by hand into" in refuse(tar(("a", FILE, "")), root)
    assert [path.name for path in root.iterdir()] == ["out"]


@pytest.mark.parametrize("content", [tar(("a", FILE, "")), zip_(("a", 0))], ids=["tar", "zip"])
def test_a_full_disk_is_one_sentence(root: Path, content: bytes) -> None:
    (root.parent / "a.archive").write_bytes(content)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, limit[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be unpacked \(.*File too large.*\); make room on the disk"):
            unpack_archive(root.parent / "a.archive", root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
