"""Mutations of the files of a data set, for ``fuzz_data.py``."""

import json
import os
import random
import re
import struct
import zlib
from pathlib import Path
from typing import Any

_TOKENS = [
    *(
        b"../canary/secret.png",
        b"../../canary/secret.png",
        b"/etc/passwd",
        b"..",
        b"/",
        b"\\",
        b"~",
        b"",
        b" ",
        b"C:\\x",
    ),
    *(
        b"\0",
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b"\x0b",
        b"\x0c",
        b"\x1b[31m",
        b"\x1c",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b'"',
        b"'",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xed\xa0\x80",
        b"\xff",
        b"\xc3\xa9",
        b",",
        b";",
        b"#",
        b"|",
        b"\\ud800",
    ),
    *(
        b"nan",
        b"inf",
        b"-inf",
        b"1e308",
        b"1e309",
        b"-1",
        b"0",
        b"1_0",
        b"0x10",
        b"9" * 400,
        b"9" * 10_000,
        b"999999999",
    ),
    *(b"2147483648", b"4294967296", b"9223372036854775808", b"1000000", b"0.5", b"true", b"null", b"NaN", b"Infinity"),
    *(b"[" * 100_000, b'{"a":' * 50_000, b"<a>" * 50_000, b"a" * 300, b"a" * 200_000, b"{}", b"[]", b"<a/>", b"</a>"),
    *(
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        b"&b;",
        b"&lt;",
        b"<![CDATA[",
        b"<!--",
        b"]]>",
        b"<?xml?>",
    ),
]
_ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 10**5, 10**9, 2**31, 2**32, 2**63, 10**400, 1.5, float("nan"), float("inf"), -1e308),
    *(
        "",
        "x",
        "1",
        "\ud800",
        "a\nb",
        "../canary/secret.png",
        "/etc/passwd",
        "\0",
        "a" * 300,
        "0" * 5000,
        "PPPP",
        "~" * 40,
    ),
    *(
        [],
        {},
        [[]],
        [None],
        [1],
        [[1, 2, 3, 4]],
        [[1e9, 0, 0, 1e9, 5, 5]],
        [[0] * 7],
        {"size": [10**6, 10**6], "counts": "1"},
    ),
    *({"size": [40, 60], "counts": [2**40]}, {"size": [40, 60], "counts": []}, {"size": [40, 60], "counts": "\\ud800"}),
]


def damage(root: Path, names: list[str], canary: Path, rng: random.Random) -> None:
    """Damage one file of a data set, sometimes two."""
    for _ in range(1 + (rng.random() < 0.1)):
        path = root / rng.choice(names)
        if not path.is_file() or path.is_symlink():
            continue
        if rng.random() < 0.04:
            _replace_file(path, canary, rng)
            continue
        content = path.read_bytes()
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            if path.suffix == ".json" and rng.random() < 0.8:
                content = _mutate_json(content, rng)
            elif path.suffix in (".csv", ".txt", ".xml") and rng.random() < 0.6:
                content = _mutate_fields(content, rng)
            elif path.suffix == ".png" and rng.random() < 0.6:
                content = _mutate_png(content, rng)
            else:
                content = _mutate_bytes(content, rng)
        path.write_bytes(content)


def _replace_file(path: Path, canary: Path, rng: random.Random) -> None:
    """Replace a file by a pipe, a folder, a link, or nothing."""
    path.unlink()
    kind = rng.choice(("pipe", "folder", "gone", "loop", canary / "secret.png", canary, "/dev/zero", "/dev/null", "/"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind != "gone":
        path.symlink_to(kind)


def _mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change bytes, whatever the format."""
    data, place = bytearray(content), rng.randrange(len(content) + 1) if rng.random() < 0.5 else rng.randrange(100)
    place = min(place, len(data))
    kind = rng.choice((0, 0, 0, 1, 2, 3, 4, 4, 4, 5, 6, 6))
    if kind == 0 and data:
        data[place - 1] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        data[place:place] = rng.choice(_TOKENS)
    elif kind == 3:
        del data[place : place + rng.randrange(1, 20)]
    elif kind == 4:  # a length
        width = rng.choice("BHI")
        value = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)) % 256 ** struct.calcsize(width)
        field = struct.pack(rng.choice("<>") + width, value)
        data[place : place + len(field)] = field
    elif kind == 5:
        other = rng.randrange(len(data) + 1)
        data[place:place] = data[other : other + rng.randrange(1, 200)]
    else:
        data[place : place + 1] = rng.randbytes(rng.randrange(1, 5))
    return bytes(data)


def _mutate_fields(content: bytes, rng: random.Random) -> bytes:
    """Replace, repeat or remove a field or a line."""
    parts = re.split(rb"([\s,<>]+)" if rng.random() < 0.8 else rb"(\n)", content)
    place = rng.randrange(len(parts))
    kind = rng.randrange(4)
    parts[place : place + 1] = [[rng.choice(_TOKENS)], [], [parts[place]] * 2, [rng.choice(parts)]][kind]
    return b"".join(parts)


def _mutate_png(content: bytes, rng: random.Random) -> bytes:
    """Change a chunk of a PNG file and update its checksum, so that the decoder reads it."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return _mutate_bytes(content, rng)
    i = rng.randrange(len(chunks))
    kind, data = chunks[i]
    if kind == b"IDAT" and rng.random() < 0.5:
        data = zlib.compress(_mutate_bytes(zlib.decompressobj().decompress(data) if data[:1] == b"x" else data, rng))
    elif rng.random() < 0.3:
        bomb = zlib.compress(bytes(rng.choice((10**3, 10**7))))
        chunks.insert(i, (rng.choice((b"zTXt", b"iCCP")), b"k\0\0" + bomb))
        chunks.insert(1, (b"iTXt", b"k\0\1\0\0\0" + bomb))
    else:
        data = _mutate_bytes(data, rng)
    if chunks[i][0] == kind:
        chunks[i] = kind, data
    encoded = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(encoded)


def _mutate_json(content: bytes, rng: random.Random) -> bytes:
    """Replace, repeat or remove a value at any depth."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return _mutate_bytes(content, rng)
    places: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            places += [(node, key) for key in keys]
            waiting += [node[key] for key in keys]
    if not places:
        return _mutate_bytes(content, rng)
    node, key = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, list):
        node.append(node[key])
    else:
        node[key] = rng.choice(_ODD) if kind == 2 else rng.choice([n[k] for n, k in places])
    try:
        return json.dumps(data).encode()
    except (ValueError, RecursionError):  # the value now contains itself
        return content
