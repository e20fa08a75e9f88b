"""The whole model is one graph: nothing in it makes torch.compile stop half-way."""

import pytest
import torch

from tests.support.wan_bases import inputs, small_model


@pytest.mark.parametrize("image", [True, False])
def test_the_model_compiles_to_one_graph_and_computes_the_same(image: bool) -> None:
    torch.compiler.reset()
    model = small_model(image=image)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for given in (
        {**inputs(image=image), "audio_gate": torch.tensor([1.0, 0.0])},
        inputs(image=image, audio=False),
    ):
        with torch.no_grad():
            torch.testing.assert_close(compiled(**given).sample, model(**given).sample, atol=0, rtol=0)


def test_blocks_compile_one_by_one() -> None:
    torch.compiler.reset()
    model = small_model()
    with torch.no_grad():
        expected = model(**inputs()).sample
        model.compile_repeated_blocks(backend="eager", fullgraph=True)
        torch.testing.assert_close(model(**inputs()).sample, expected, atol=0, rtol=0)
