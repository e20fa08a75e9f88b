import io

from hypothesis import given
from hypothesis import strategies as st

from catalogs.ids import clip_id, ids_digest, source_id


@given(st.binary(min_size=0, max_size=4096))
def test_source_id_depends_on_the_bytes_only(data: bytes) -> None:
    assert source_id(io.BytesIO(data), len(data)) == source_id(io.BytesIO(bytes(data)), len(data))
    changed = data + b"x"
    assert source_id(io.BytesIO(changed), len(changed)) != source_id(io.BytesIO(data), len(data))


def test_sparse_hash_sees_size_head_middle_and_tail() -> None:
    size = 40 << 20
    data = bytearray(size)
    plain = source_id(io.BytesIO(data), size, sparse_over_bytes=1 << 20)
    for position in (0, size // 2, size - 1):
        data[position] = 1
        assert source_id(io.BytesIO(data), size, sparse_over_bytes=1 << 20) != plain
        data[position] = 0
    assert source_id(io.BytesIO(data + b"\0"), size + 1, sparse_over_bytes=1 << 20) != plain


@given(st.text(min_size=1), st.integers(), st.integers())
def test_clip_id_changes_with_each_part(source: str, start: int, end: int) -> None:
    assert len(clip_id(source, start, end)) == 33
    assert clip_id(source, start, end) != clip_id(source, start, end + 1)
    assert clip_id(source, start, end) != clip_id(source + "x", start, end)


def test_ids_digest_ignores_order() -> None:
    assert ids_digest(["b", "a"]) == ids_digest(["a", "b"]) != ids_digest(["a"])
