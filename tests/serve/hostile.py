"""A seed in, a corpus of hostile requests out: each a name, what is sent, and the statuses that refuse it rightly."""

import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

FILE = b'Content-Disposition: form-data; name="file"'


@dataclass(frozen=True)
class Attack:
    """One request. `fine`: it may also be taken, for it does no harm (a hostile name, which nobody reads)."""

    name: str
    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    fine: bool = False


def upload(name: str, data: bytes, filename: str = "x.png", kind: str = "image/png", **fields: str) -> Attack:
    """Return an upload of these bytes."""
    edge = "edge7d1"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
    head += f"Content-Type: {kind}\r\n\r\n"
    body = b"".join(parts) + head.encode("utf-8", "surrogatepass") + data + f"\r\n--{edge}--\r\n".encode()
    return Attack(name, "POST", "/v1/interpret", body, {"Content-Type": f"multipart/form-data; boundary={edge}"})


def picture(form: str = "PNG", side: int = 64, mode: str = "L") -> bytes:
    """Return a plain picture's bytes."""
    rng = np.random.default_rng(5)
    file = io.BytesIO()
    levels = rng.integers(0, 255, (side, side), dtype=np.uint16 if mode == "I;16" else np.uint8)
    Image.fromarray(levels).convert(mode).save(file, form)
    return file.getvalue()


def damaged_pictures() -> Iterator[Attack]:
    """Yield truncated, overwritten and empty pictures of each kind that is read."""
    for form in ("PNG", "JPEG", "TIFF"):
        whole = picture(form)
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9):
            yield upload(f"{form} cut at {share:.0%}", whole[: int(len(whole) * share)])
        rng = np.random.default_rng(len(whole))
        for draw in range(6):
            dirty = bytearray(whole)
            for place in rng.integers(8, len(whole), 40):
                dirty[place] = int(rng.integers(256))
            yield Attack(**{**vars(upload(f"{form} overwritten {draw}", bytes(dirty))), "fine": True})
        yield upload(f"{form} head alone", whole[:8])
        yield upload(f"{form} reversed", whole[::-1])
    yield upload("empty", b"")
    yield upload("one byte", b"\x89")
    yield upload("zeros", bytes(4096))
    yield upload("noise", np.random.default_rng(1).bytes(4096))


def bombs() -> Iterator[Attack]:
    """Yield pictures that unpack to far more than they weigh, or say so."""
    for width, height in (
        (100_000, 100_000),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (60_000, 60_000),
        (0, 10),
        (20_000, 4_000),
    ):
        yield upload(f"PNG that says {width} x {height}", _png(width, height, zlib.compress(bytes(1000))))
    yield upload("PNG bomb, true", _png(30_000, 30_000, _squeeze(30_001 * 30_000)))
    yield upload("PNG with a text bomb", _png(64, 64, zlib.compress(bytes(65 * 64)), text=_squeeze(200 << 20)))
    yield upload("TIFF that says 100000 x 100000", _tiff(100_000, 100_000))
    yield upload("TIFF directory that is its own next", _tiff(64, 64, loop=True))
    yield upload("too many bytes", bytes(9 << 20))
    yield upload("too small", picture(side=4))


def wrong_kinds() -> Iterator[Attack]:
    """Yield files of other kinds, under a picture's name, and pictures of kinds that are not read."""
    for name, data in {
        "html": b"<html><script>alert(1)</script></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "svg with an entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "pdf": b"%PDF-1.7\n1 0 obj<<>>endobj",
        "zip": b"PK\x03\x04" + bytes(100),
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "elf": b"\x7fELF" + bytes(200),
        "pickle": b"\x80\x04\x95\x1c\x00cos\nsystem\n",
        "python": b"import os; os.system('true')",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(file) run",
        "xlsx": b"PK\x03\x04\x14\x00\x06\x00" + bytes(300),
        "json": b'{"case": "x"}',
        "mp4": b"\x00\x00\x00\x18ftypmp42" + bytes(100),
        "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': (1,)}",
    }.items():
        yield upload(f"{name} as png", data)
    for form in ("GIF", "BMP", "WEBP", "PPM", "ICO", "TGA", "PCX", "EPS"):
        mode = "RGB" if form in ("WEBP", "EPS", "PPM") else "L"
        yield upload(f"{form} picture", picture(form, mode=mode), "x.jpg", "image/jpeg")
    yield upload("16-bit picture", picture(mode="I;16"))
    yield upload("float TIFF", picture("TIFF", mode="F"))


def hostile_names() -> Iterator[Attack]:
    """Yield whole pictures under hostile names and with hostile fields; names are never read."""
    for name in (
        "../../../../etc/cron.d/x", "..\\\\..\\\\windows\\\\win.ini", "/etc/passwd", "C:/boot.ini", "a\x00.png", "con",
        ".", "..", "~/.ssh/authorized_keys", "%2e%2e%2f%2e%2e%2fetc", "x" * 3000, "a;rm -rf /", "$(touch /tmp/pwned)",
        "`id`", "'; DROP TABLE cases;--", "<img src=x onerror=alert(1)>.png", "{{7*7}}", "Jane Roe 1970-01-01.png",
        "\u202egnp.exe", "file:///etc/passwd", "${jndi:ldap://x/a}",
    ):  # fmt: skip
        yield Attack(**{**vars(upload(f"name {name[:24]!r}", picture(), name)), "fine": True})
    for group in (
        "../../x",
        "'; DROP TABLE cases;--",
        "<script>alert(1)</script>",
        "\x00",
        "=cmd|' /C calc'!A0",
        "x" * 500,
    ):
        attack = upload(f"group {group[:20]!r}", picture(), group=group)
        yield Attack(**{**vars(attack), "fine": len(group) < 200})
    for spacing in ("-1", "0", "nan", "inf", "1e400", "99", "0.1 0.1 0.1", "'; --", "0.1mm/px;drop"):
        yield upload(f"spacing {spacing}", picture(), spacing_mm=spacing)
    yield upload("a strange field", picture(), extra="1")
    yield upload("a field of 1 MB", picture(), group="x" * (1 << 20))


def broken_forms() -> Iterator[Attack]:
    """Yield bodies that are no proper multipart form."""
    kind = "multipart/form-data"
    for name, body, content in (
        ("no boundary", b"x", kind), ("empty boundary", b"----", f"{kind}; boundary="),
        ("boundary that never comes", b"x" * 1000, f"{kind}; boundary=zz"),
        ("no end", b"--zz\r\n" + FILE + b'; filename="a"\r\n\r\nabc', f"{kind}; boundary=zz"),
        ("no name", b'--zz\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--zz--\r\n', f"{kind}; boundary=zz"),
        ("no disposition", b"--zz\r\n\r\nabc\r\n--zz--\r\n", f"{kind}; boundary=zz"),
        ("file as text", b"--zz\r\n" + FILE + b"\r\n\r\nabc\r\n--zz--\r\n", f"{kind}; boundary=zz"),
        ("two files", _two_files(), f"{kind}; boundary=zz"), ("not a form", b"abc", "text/plain"),
        ("a header of 64 kB", b"--zz\r\nX: " + b"y" * 65536 + b"\r\n\r\n\r\n--zz--", f"{kind}; boundary=zz"),
        ("a thousand parts", (b"--zz\r\n" + FILE + b"\r\n\r\n\r\n") * 1000, f"{kind}; boundary=zz"),
        ("charset that is none", b"--zz--", f"{kind}; boundary=zz; charset=../../x"),
        ("json", b'{"file": "x"}', "application/json"), ("nothing", b"", kind),
        ("urlencoded", b"file=abc", "application/x-www-form-urlencoded"),
    ):  # fmt: skip
        yield Attack(f"form: {name}", "POST", "/v1/interpret", body, {"Content-Type": content})


def hostile_reviews(case: str) -> Iterator[Attack]:
    """Yield reviews of a real case that are none."""

    def review(name: str, body: object, fine: bool = False) -> Attack:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Attack(f"review: {name}", "POST", "/v1/reviews", data, {"Content-Type": "application/json"}, fine)

    edit = {"question": "q8", "verdict": "edit"}
    for text in ("'; DROP TABLE reviews;--", "<script>alert(1)</script>", "=1+1", "{{config}}", "\u202e", "💥" * 500):
        yield review(f"text {text[:12]!r}", {"case": case, "answers": [{**edit, "text": text}]}, fine=True)
    for text in ("\x00", "\x07", "x" * 2001, "", "   ", 5, None, ["a"], {"a": 1}):
        yield review(f"text {str(text)[:12]!r}", {"case": case, "answers": [{**edit, "text": text}]})
    for other in ("../../etc", "' OR 1=1 --", "g" * 16, "0" * 15, "", None, 5, ["a"], "0" * 16):
        yield review(f"case {other!r}", {"case": other, "rating": 3})
    for rating in (0, 6, -1, 3.5, "5; DROP", 1e400, None, True, 2**70):
        yield review(f"rating {rating!r}", {"case": case, "rating": rating}, fine=rating is True)
    for author in ("<script>", "\x00", "x" * 65, "../x", "a\nb", 5, "=cmd"):
        yield review(f"author {author!r}", {"case": case, "rating": 3, "author": author})
    accept = {"question": "q2", "verdict": "accept"}
    yield review("twice the same question", {"case": case, "answers": [accept, accept]})
    yield review("a question that is none", {"case": case, "answers": [{**accept, "question": "../q1"}]})
    yield review("a verdict that is none", {"case": case, "answers": [{**accept, "verdict": "delete"}]})
    yield review("an unknown key", {"case": case, "rating": 3, "admin": True})
    yield review("answers without end", {"case": case, "answers": [accept] * 300})
    yield review("no object", [1, 2, 3])
    yield review("deep", b"[" * 50_000)
    yield review("deep objects", b'{"a":' * 20_000)
    yield review("huge", b'{"case": "' + b"x" * (1 << 20) + b'"}')
    yield review("a huge number", b'{"rating": ' + b"9" * 100_000 + b"}")
    yield review("no JSON", b"rating=5")
    yield review("broken UTF-8", b'{"case": "\xff\xfe"}')
    yield review("a lone surrogate", b'{"case": "\\ud800", "rating": 3}')
    yield review("infinity", {"case": case, "rating": 3, "seconds": float("inf")})
    yield review("nothing", b"")


def hostile_paths() -> Iterator[Attack]:
    """Yield paths and queries out of bounds."""
    for path in (
        "/v1/cases/..%2f..%2fetc%2fpasswd", "/v1/cases/../../etc/passwd", "/page/..%2fapi.py", "/page/../api.py",
        "/page/%2e%2e/api.py", "/page//etc/passwd", "/page/%00", "/v1/cases/' OR 1=1", "/v1/cases/%ff%fe/image",
        "/v1/cases/" + "a" * 5000, "/v1/cases?limit=-1", "/v1/cases?limit=99999999999999999999", "/v1/cases?limit=x",
        "/v1/cases?before=" + "x" * 100, "/v1/reviews?case=*", "/v1/reviews?limit=1e9", "/.git/config", "/docs",
        "/redoc", "/v2/interpret", "/static/../../x", "/page/index.html%00.png",
    ):  # fmt: skip
        yield Attack(f"GET {path[:40]}", "GET", path, b"")
    for method, path in (
        ("PUT", "/v1/reviews"),
        ("DELETE", "/v1/reviews"),
        ("PATCH", "/v1/cases/1"),
        ("TRACE", "/health"),
    ):
        yield Attack(f"{method} {path}", method, path, b"")


def hostile_dicom(whole: bytes) -> Iterator[Attack]:
    """Yield truncated and malformed DICOM made of a whole file, and DICOM that lies about itself."""
    for share in (0.01, 0.05, 0.2, 0.5, 0.8, 0.99):
        yield upload(f"DICOM cut at {share:.0%}", whole[: int(len(whole) * share)], "x.dcm", "application/dicom")
    rng = np.random.default_rng(7)
    for draw in range(8):
        dirty = bytearray(whole)
        for place in rng.integers(132, min(len(whole), 3000), 60):
            dirty[place] = int(rng.integers(256))
        attack = upload(f"DICOM overwritten {draw}", bytes(dirty), "x.dcm", "application/dicom")
        yield Attack(**{**vars(attack), "fine": True})
    yield upload("DICOM head alone", whole[:132], "x.dcm", "application/dicom")
    yield upload("DICOM head and noise", whole[:132] + rng.bytes(2000), "x.dcm", "application/dicom")
    yield upload("DICOM head and a picture", whole[:132] + picture(), "x.dcm", "application/dicom")
    rows = whole.find(b"\x28\x00\x10\x00US\x02\x00")
    if rows > 0:
        lying = whole[: rows + 8] + b"\xff\xff" + whole[rows + 10 :]
        yield upload("DICOM that says 65535 rows", lying, "x.dcm", "application/dicom")


def _png(width: int, height: int, packed: bytes, text: bytes | None = None) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    extra = chunk(b"zTXt", b"Comment\0\0" + text) if text else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _squeeze(size: int) -> bytes:
    packer, pieces = zlib.compressobj(9), []
    for start in range(0, size, 1 << 24):
        pieces.append(packer.compress(bytes(min(1 << 24, size - start))))
    return b"".join(pieces) + packer.flush()


def _tiff(width: int, height: int, loop: bool = False) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8 if loop else 0)
    )


def _two_files() -> bytes:
    one = b'--zz\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + picture() + b"\r\n"
    return one + one + b"--zz--\r\n"
