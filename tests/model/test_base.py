"""A public base is imported whole and unchanged, or refused with one line."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.base import from_base
from model.errors import ModelError
from model.transformer import AudioWanTransformer
from tests.support.wan_bases import AUDIO_IN, IMAGE, SMALL, inputs, let_hear, raw_names, save_raw, small_base

AUDIO_KEYS = {
    *(f"audio_projection.linear_{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")),
    "audio_projection.statistics.mean",
    "audio_projection.statistics.std",
    *(
        f"blocks.{block}.{part}"
        for block in range(SMALL["num_layers"])
        for part in (
            "norm_audio.weight",
            "norm_audio.bias",
            *(
                f"attn_audio.{name}.{kind}"
                for name in ("to_q", "to_k", "to_v", "to_out.0")
                for kind in ("weight", "bias")
            ),
            "attn_audio.norm_q.weight",
            "attn_audio.norm_k.weight",
        )
    ),
}


@pytest.fixture
def diffusers_base(tmp_path: Path) -> Path:
    small_base().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("image", [True, False])
def test_a_new_model_equals_its_base_exactly_with_sound_and_without(tmp_path: Path, image: bool) -> None:
    base = small_base(image=image)
    base.save_pretrained(tmp_path)
    model, _ = from_base(tmp_path, audio_in_dim=AUDIO_IN)
    heard = inputs(image=image)
    silent = {
        name: value for name, value in heard.items() if name not in ("audio", "audio_positions", "latent_positions")
    }
    with torch.no_grad():
        expected = base(**silent).sample
        assert torch.equal(model(**heard).sample, expected)
        assert torch.equal(model(**silent).sample, expected)
        let_hear(model)
        assert not torch.equal(model(**heard).sample, expected)


def test_exactly_the_audio_weights_are_new(diffusers_base: Path) -> None:
    model, report = from_base(diffusers_base, audio_in_dim=AUDIO_IN)
    assert set(report.missing) == AUDIO_KEYS
    assert report.unexpected == report.mismatched == ()
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert model.blocks[0].attn_audio.to_q.weight.std() > 0


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("image", [True, False])
def test_files_with_the_makers_own_names_give_the_same_model(tmp_path: Path, shards: int, image: bool) -> None:
    base = small_base(image=image)
    save_raw(raw_names(base), tmp_path, shards)
    model, report = from_base(tmp_path, audio_in_dim=AUDIO_IN)
    assert set(report.missing) == AUDIO_KEYS
    with torch.no_grad():
        given = inputs(image=image)
        expected = base(**{name: given[name] for name in given if "audio" not in name and name != "latent_positions"})
        assert torch.equal(model(**given).sample, expected.sample)


def test_a_single_file_needs_no_config_where_heads_are_128_wide(tmp_path: Path) -> None:
    base = small_base(
        num_attention_heads=1, attention_head_dim=128, added_kv_proj_dim=128, num_layers=SMALL["num_layers"]
    )
    prefixed = {f"model.diffusion_model.{name}": tensor for name, tensor in raw_names(base).items()}
    save_file(prefixed, tmp_path / "one.safetensors")
    model, _ = from_base(tmp_path / "one.safetensors", audio_in_dim=AUDIO_IN)
    for name, tensor in base.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_whole_pipelines_folder_is_taken(tmp_path: Path) -> None:
    small_base().save_pretrained(tmp_path / "transformer")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "WanImageToVideoPipeline"}))
    assert isinstance(from_base(tmp_path, audio_in_dim=AUDIO_IN)[0], AudioWanTransformer)


def test_a_norm_that_published_files_have_and_nobody_uses_is_no_mistake(diffusers_base: Path) -> None:
    _rewrite(diffusers_base, lambda weights: weights.update({"blocks.0.attn2.norm_added_q.weight": torch.ones(24)}))
    from_base(diffusers_base, audio_in_dim=AUDIO_IN)


def test_a_skyreels_folder_is_taken(diffusers_base: Path) -> None:
    _edit_config(diffusers_base, _class_name="SkyReelsV2Transformer3DModel", inject_sample_info=False)
    from_base(diffusers_base, audio_in_dim=AUDIO_IN)


def test_the_bases_weights_are_mapped_from_the_file_and_not_copied(diffusers_base: Path) -> None:
    model, _ = from_base(diffusers_base, audio_in_dim=AUDIO_IN)
    files = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    assert any(str(diffusers_base) in file for file in files)
    assert model.proj_out.weight.untyped_storage().nbytes() < 2 * model.proj_out.weight.nbytes


def test_the_dtype_is_the_files_or_the_one_asked_for(tmp_path: Path) -> None:
    small_base().to(torch.bfloat16).save_pretrained(tmp_path)
    as_is, _ = from_base(tmp_path, audio_in_dim=AUDIO_IN)
    assert as_is.blocks[0].attn_audio.to_q.weight.dtype == as_is.proj_out.weight.dtype == torch.bfloat16
    assert as_is.blocks[0].norm_audio.weight.dtype == torch.float32
    wide, _ = from_base(tmp_path, audio_in_dim=AUDIO_IN, dtype=torch.float32)
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda w: w.update({"blocks.0.attn1.to_qq.weight": w.pop("blocks.0.attn1.to_q.weight")}), "to_q.weight"),
        (lambda w: w.pop("blocks.1.ffn.net.2.bias"), "1 missing, such as blocks.1.ffn.net.2.bias"),
        (lambda w: w.update({"fps_embedding.weight": torch.ones(2, 24)}), "1 unexpected, such as fps_embedding.weight"),
        (lambda w: w.update({"proj_out.bias": torch.ones(3)}), "proj_out.bias: [3] there, [64] here"),
    ],
)
def test_one_wrong_weight_refuses_the_base(diffusers_base: Path, edit, says: str) -> None:  # type: ignore[no-untyped-def]
    _rewrite(diffusers_base, edit)
    _refused(diffusers_base, says)


def test_wan_2_2_is_refused(tmp_path: Path) -> None:
    pipeline = tmp_path / "moe"
    small_base(image=False).save_pretrained(pipeline / "transformer")
    small_base(image=False).save_pretrained(pipeline / "transformer_2")
    for place in (pipeline, pipeline / "transformer", pipeline / "transformer_2"):
        _refused(place, "Wan 2.2's mixture")
    save_raw(raw_names(small_base(image=False)), tmp_path / "raw" / "high_noise_model")
    _refused(tmp_path / "raw", "Wan 2.2's mixture")
    _refused(tmp_path / "raw" / "high_noise_model", "Wan 2.2's mixture")
    (tmp_path / "one").mkdir()
    small_base(image=False).save_pretrained(tmp_path / "one" / "transformer")
    (tmp_path / "one" / "model_index.json").write_text(json.dumps({"boundary_ratio": 0.9}))
    _refused(tmp_path / "one", "Wan 2.2's mixture")


def test_wan_2_2_5b_and_text_to_video_models_are_refused(tmp_path: Path) -> None:
    small_base(image=False, in_channels=48, out_channels=48).save_pretrained(tmp_path / "5b")
    _refused(tmp_path / "5b", "TI2V-5B")
    small_base(image=False, in_channels=16).save_pretrained(tmp_path / "t2v")
    _refused(tmp_path / "t2v", "text-to-video model (16 input channels)")


def test_half_of_a_mixture_is_known_by_its_size(tmp_path: Path) -> None:
    small_base(image=False).save_pretrained(tmp_path)
    _edit_config(tmp_path, num_attention_heads=40, attention_head_dim=128)
    _refused(tmp_path, "half of Wan 2.2's mixture")


def test_another_architecture_is_refused(tmp_path: Path, diffusers_base: Path) -> None:
    save_file({"transformer.h.0.weight": torch.ones(2)}, tmp_path / "gpt.safetensors")
    _refused(tmp_path / "gpt.safetensors", "another architecture, not Wan")
    _edit_config(diffusers_base, _class_name="WanVACETransformer3DModel")
    _refused(diffusers_base, "another architecture (WanVACETransformer3DModel)")
    _edit_config(diffusers_base, _class_name="AudioWanTransformer")
    _refused(diffusers_base, "has an audio branch already")


class _Bomb:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth"])
def test_pickled_files_are_refused_and_never_opened(tmp_path: Path, monkeypatch, suffix: str) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "folder" / f"model{suffix}"
    file.parent.mkdir()
    file.write_bytes(pickle.dumps({"weight": _Bomb()}))
    _refused(file, "a pickled file can run code")
    _refused(file.parent, "a pickled file can run code")
    assert not (tmp_path / "exploded").exists()


def test_broken_files_are_refused(tmp_path: Path, diffusers_base: Path) -> None:
    file = diffusers_base / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"):
        file.write_bytes(content)
        _refused(diffusers_base, "not a whole safetensors file")
    file.unlink()
    _refused(diffusers_base, "no safetensors files there")
    _refused(tmp_path / "nowhere", "no such file or folder")
    (diffusers_base / "config.json").write_text("{")
    file.write_bytes(whole)
    _refused(diffusers_base, "not readable as JSON")


def test_a_lost_shard_and_a_weight_that_is_there_twice_are_refused(tmp_path: Path) -> None:
    save_raw(raw_names(small_base()), tmp_path / "lost", shards=3)
    (tmp_path / "lost" / "model-00002-of-00003.safetensors").unlink()
    _refused(tmp_path / "lost", "1 of 3 shards are not there, such as model-00002-of-00003.safetensors")
    save_raw(raw_names(small_base()), tmp_path / "twice")
    (tmp_path / "twice" / "copy.safetensors").write_bytes((tmp_path / "twice" / "model.safetensors").read_bytes())
    _refused(tmp_path / "twice", "is in copy.safetensors too")


def test_quantized_weights_are_refused(diffusers_base: Path) -> None:
    _rewrite(diffusers_base, lambda w: w.update({"proj_out.weight": w["proj_out.weight"].to(torch.float8_e4m3fn)}))
    _refused(diffusers_base, "quantized weights (F8_E4M3)")


def test_the_image_branch_is_read_from_the_weights(tmp_path: Path) -> None:
    save_raw(raw_names(small_base()), tmp_path)
    config = from_base(tmp_path, audio_in_dim=AUDIO_IN)[0].config
    expected = {**SMALL, **IMAGE, "rope_max_seq_len": 1024}
    assert {name: config[name] for name in expected} == expected


def _refused(place: Path, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        from_base(place, audio_in_dim=AUDIO_IN)
    assert says in str(caught.value)
    assert str(place) in str(caught.value) or str(place.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def _rewrite(folder: Path, edit) -> None:  # type: ignore[no-untyped-def]
    file = folder / "diffusion_pytorch_model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(file).items()}
    edit(weights)
    save_file(weights, file)


def _edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
