"""Digests of content: the same for the same content, another for any other."""

from __future__ import annotations

import torch

from model.digests import content_digest

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(1, dtype=torch.bfloat16)}


def test_the_order_of_names_and_the_layout_in_memory_do_not_count() -> None:
    turned = {"b": TENSORS["b"], "a": TENSORS["a"].T.contiguous().T}
    assert content_digest("x", {"p": 1, "q": 2}, TENSORS) == content_digest("x", {"q": 2, "p": 1}, turned)


def test_kind_settings_names_shapes_dtypes_and_values_count() -> None:
    a, b = TENSORS["a"], TENSORS["b"]
    digests = {
        content_digest("x", {}, TENSORS),
        content_digest("y", {}, TENSORS),
        content_digest("x", {"p": 1}, TENSORS),
        content_digest("x", {}, {"a": a}),
        content_digest("x", {}, {"c": a, "b": b}),
        content_digest("x", {}, {"a": a.view(3, 2), "b": b}),
        content_digest("x", {}, {"a": a.view(torch.int32), "b": b}),
        content_digest("x", {}, {"a": a + 1, "b": b}),
        content_digest("x", {}),
    }
    assert len(digests) == 9
