"""A multipart body in, its picture's bytes and fields out; nothing is written to a temporary file, no name is kept."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from residency.data.rows import read_pixel_sizes
from residency.serve.pictures import Refused

FIELDS = ("group", "spacing_mm")
LONGEST = 200


@dataclass(frozen=True)
class Upload:
    """What came: the file's bytes, the patient or study it belongs to as the sender calls it, mm a pixel if known."""

    data: bytes
    group: str | None = None
    spacing_mm: tuple[float, float] | None = None


class _MemoryParser(MultiPartParser):
    """Keeps parts in memory: the body is there already, and within its limit."""

    spool_max_size = 1 << 40


async def read_upload(request: Request) -> Upload:
    """Read the field `file` and the optional fields `group` and `spacing_mm` (mm a pixel: one, or row and column).

    Raises:
        Refused: no multipart body (415), or one that is damaged, lacks `file`, or holds other fields (422).
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refused(415, "send the picture as multipart/form-data, in the field `file`")
    body = await request.body()

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = _MemoryParser(Headers(scope=request.scope), stream(), max_files=1, max_fields=8, max_part_size=4096)
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise Refused(422, f"the body is no multipart form ({type(error).__name__})") from None
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Refused(422, "the form has no file in its field `file`")
    if strange := set(form) - {"file", *FIELDS}:
        raise Refused(422, f"the form has {len(strange)} field(s) besides file, {', '.join(FIELDS)}")
    data = await file.read()
    if not data:
        raise Refused(422, "the file is empty")
    return Upload(data, _read_group(form.get("group")), _read_spacing(form.get("spacing_mm")))


def _read_group(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    if len(value) > LONGEST:
        raise Refused(422, f"the group is longer than {LONGEST} letters")
    return value.strip()


def _read_spacing(value: object) -> tuple[float, float] | None:
    if not isinstance(value, str) or not value.strip():
        return None
    sizes = read_pixel_sizes(value[:LONGEST].replace(",", " "))
    if not sizes:
        raise Refused(422, "spacing_mm is no pixel size in mm (0 to 10): one number, or row and column")
    return sizes[0], sizes[-1]
