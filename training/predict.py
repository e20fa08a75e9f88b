"""The transformer is asked here for the velocity of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from model.flow import TIMESTEPS
from model.transformer import AudioWanTransformer
from training.batch import Batch


def predict(network: AudioWanTransformer, batch: Batch, inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the velocity [B, C, W, h, w] that the model predicts.

    Args:
        network: the model, whole or split.
        batch: conditions and positions.
        inputs: noisy latents and conditions [B, C + t + C, W, h, w].
        dtype: what the blocks compute in.
    """
    (sample,) = network(
        hidden_states=inputs.to(dtype),
        timestep=batch.level * TIMESTEPS,
        encoder_hidden_states=batch.text.to(dtype),
        encoder_hidden_states_image=None if batch.image is None else batch.image.to(dtype),
        audio=batch.audio.to(dtype),
        audio_positions=batch.audio_positions,
        latent_positions=batch.latent_positions,
        audio_gate=batch.audio_gate,
        return_dict=False,
    )
    return sample
