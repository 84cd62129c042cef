"""The damage in a HEIC's pixels, which libheif does not tell of.

libheif has each tile decoded by libde265, which fills in what it cannot read; its warnings go nowhere. So
each tile is decoded once more by libde265 itself, to ask for them. Damage puts an arithmetic decoder out of
step, so that a tile is full before its data end, or the other way round
(docs/decisions/047-heic-and-avif.md).

Sources: ISO/IEC 14496-12 (boxes), 14496-15 (hvcC); libheif's heif_items.h, libde265's de265.h.
"""

import ctypes
import struct
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint8, c_uint32, c_void_p
from functools import cache
from typing import Any

from stages.images.headers import damaged
from stages.shared.errors import printable

_MAX_REFERENCES = 8
"""Kinds of references that are looked through for that to the tiles."""

_NO_MORE_INPUT = 13
"""An error of libde265's that is none: it has decoded all it was given."""

_OUT_OF_STEP = (1002, 1004, 1017)
"""libde265's warnings of a slice that ends too early, leaves the picture, or goes on at its end."""


def read_boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of what each box holds; the end may lie behind that of the data."""
    while start + 8 <= end:
        num_bytes, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if num_bytes == 1 and start + 16 <= end:
            (num_bytes,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        elif num_bytes == 0:
            num_bytes = end - start
        if num_bytes < head:
            return
        yield kind, start + head, start + num_bytes
        start += num_bytes


def check_tiles(data: bytes) -> None:
    """Refuse a HEIC in whose primary image libde265 finds a tile out of step."""
    library = _load_library()
    if library is None:
        return
    context = library.heif_context_alloc()
    try:
        if library.heif_context_read_from_memory_without_copy(context, data, len(data), None).code:
            return
        configurations = _find_configurations(data)
        for item in _list_tiles(library, context):
            if item not in configurations:
                continue
            if found := _find_problem(library, _read_units(library, context, item, configurations[item])):
                reason = printable(library.de265_get_error_text(found).decode(errors="replace"))
                raise damaged(f"libde265 finds its data out of step: {reason}")
    except (IndexError, struct.error) as error:
        raise damaged(f"its boxes do not fit together: {error}") from None
    finally:
        library.heif_context_free(context)


def _find_configurations(data: bytes) -> dict[int, bytes]:
    """Return the hvcC box of each item that has one: its parameter sets, and how its slices are stored."""
    start, end = 0, len(data)
    for wanted, head in ((b"meta", 4), (b"iprp", 0)):
        for kind, box_start, box_end in read_boxes(data, start, end):
            if kind == wanted:
                start, end = box_start + head, min(box_end, end)
                break
        else:
            return {}
    properties: list[bytes] = []
    found: dict[int, bytes] = {}
    for kind, box_start, box_end in read_boxes(data, start, end):
        if kind == b"ipco":  # which comes first
            boxes = read_boxes(data, box_start, min(box_end, end))
            properties = [data[first:last] if name == b"hvcC" else b"" for name, first, last in boxes]
        elif kind == b"ipma":
            for item, number in _read_associations(data[box_start:box_end]):
                if 0 < number <= len(properties) and properties[number - 1]:
                    found[item] = properties[number - 1]
    return found


def _read_associations(box: bytes) -> Iterator[tuple[int, int]]:
    """Yield items and the numbers of their properties, as an ipma box has them."""
    version, is_wide = box[0], box[3] & 1
    (num_items,) = struct.unpack_from(">I", box, 4)
    place = 8
    for _ in range(num_items):
        item, count = struct.unpack_from(">IB" if version else ">HB", box, place)
        place += 5 if version else 3
        for _ in range(count):  # the upper bit says whether it is essential
            yield item, struct.unpack_from(">H", box, place)[0] & 0x7FFF if is_wide else box[place] & 0x7F
            place += 1 + is_wide


def _list_tiles(library: Any, context: int) -> list[int]:
    """Return the items that hold the primary image: itself, or what it is put together from."""
    primary = c_uint32()
    if library.heif_context_get_primary_image_ID(context, byref(primary)).code:
        return []
    if library.heif_item_get_item_type(context, primary) == _four(b"hvc1"):
        return [primary.value]
    kind, references = c_uint32(), POINTER(c_uint32)()
    for index in range(_MAX_REFERENCES):
        count = library.heif_context_get_item_references(
            context, primary, index, byref(kind), byref(references)
        )
        items = references[:count]
        if count:
            library.heif_release_item_references(context, byref(references))
        if not count or kind.value == _four(b"dimg"):
            break
    else:
        items = []
    return [item for item in items if library.heif_item_get_item_type(context, item) == _four(b"hvc1")]


def _read_units(library: Any, context: int, item: int, configuration: bytes) -> list[bytes]:
    """Return a tile's parameter sets and slices (NAL units)."""
    body, size = POINTER(c_uint8)(), c_size_t()
    if library.heif_item_get_item_data(context, item, None, byref(body), byref(size)).code:
        return []
    slices = ctypes.string_at(body, size.value)
    library.heif_release_item_data(context, byref(body))
    return [*_split_parameter_sets(configuration), *_split(slices, 1 + (configuration[21] & 3))]


def _split_parameter_sets(box: bytes) -> Iterator[bytes]:
    """Yield the units of an hvcC box: arrays of them, each of one kind."""
    place = 23
    for _ in range(box[22]):
        (count,) = struct.unpack_from(">H", box, place + 1)
        place += 3
        for _ in range(count):
            (num_bytes,) = struct.unpack_from(">H", box, place)
            yield box[place + 2 : place + 2 + num_bytes]
            place += 2 + num_bytes


def _split(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield units, each with its length before it."""
    place = 0
    while place + length_bytes <= len(data):
        num_bytes = int.from_bytes(data[place : place + length_bytes], "big")
        place += length_bytes
        yield data[place : place + num_bytes]
        place += num_bytes


def _find_problem(library: Any, units: list[bytes]) -> int:
    """Return libde265's first error, or its first warning that says damage, in decoding units; 0 for none."""
    decoder = library.de265_new_decoder()
    try:
        for unit in units:
            library.de265_push_NAL(decoder, unit, len(unit), 0, None)
        library.de265_flush_data(decoder)
        has_more, error = c_int(1), 0
        while has_more.value and not error:
            error = library.de265_decode(decoder, byref(has_more))
            library.de265_release_next_picture(decoder)
        if error not in (0, _NO_MORE_INPUT):
            return int(error)
        while warning := library.de265_get_warning(decoder):
            if warning in _OUT_OF_STEP:
                return int(warning)
        return 0
    finally:
        library.de265_free_decoder(decoder)


def _four(kind: bytes) -> int:
    """Return a kind of box or item as libheif has it."""
    return int.from_bytes(kind, "big")


class _Error(ctypes.Structure):
    """heif_error."""

    _fields_ = (("code", c_int), ("subcode", c_int), ("message", c_char_p))


_ITEM = (c_void_p, c_uint32)
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "heif_context_alloc": (c_void_p, ()),
    "heif_context_free": (None, (c_void_p,)),
    "heif_context_read_from_memory_without_copy": (_Error, (c_void_p, c_char_p, c_size_t, c_void_p)),
    "heif_context_get_primary_image_ID": (_Error, (c_void_p, POINTER(c_uint32))),
    "heif_context_get_item_references": (
        c_size_t,
        (*_ITEM, c_int, POINTER(c_uint32), POINTER(POINTER(c_uint32))),
    ),
    "heif_release_item_references": (None, (c_void_p, POINTER(POINTER(c_uint32)))),
    "heif_item_get_item_type": (c_uint32, _ITEM),
    "heif_item_get_item_data": (
        _Error,
        (*_ITEM, POINTER(c_int), POINTER(POINTER(c_uint8)), POINTER(c_size_t)),
    ),
    "heif_release_item_data": (None, (c_void_p, POINTER(POINTER(c_uint8)))),
    "de265_new_decoder": (c_void_p, ()),
    "de265_free_decoder": (c_int, (c_void_p,)),
    "de265_push_NAL": (c_int, (c_void_p, c_char_p, c_int, c_int64, c_void_p)),
    "de265_flush_data": (c_int, (c_void_p,)),
    "de265_release_next_picture": (None, (c_void_p,)),
    "de265_decode": (c_int, (c_void_p, POINTER(c_int))),
    "de265_get_warning": (c_int, (c_void_p,)),
    "de265_get_error_text": (c_char_p, (c_int,)),
}
"""Result and arguments of what is called."""


@cache
def _load_library() -> Any:
    """Return libheif and libde265 as pillow-heif ships them; None where it was built in another way."""
    import _pillow_heif

    library = ctypes.CDLL(_pillow_heif.__file__)
    try:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError:
        return None
    return library
