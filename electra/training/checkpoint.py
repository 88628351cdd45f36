"""Checkpoints: complete or absent, verified when opened; a run goes on from the newest good one.

A checkpoint is a folder (in a run `step-NNNNNNN/`) with config.json, the tokenizer's file, model.pt (weights) and
manifest.json (the step and the SHA-256 of every other file). training_state.pt is also there, but not in a fine-tuned
model or a milestone (a checkpoint that is never deleted).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from electra.cli import flag_name, from_dict
from electra.config import EncoderConfig, FinetuneConfig, PretrainConfig
from electra.files import SHIPPED, FormatError, fsync_folder, json_bytes, model_folder, naming, read_json, sha256_file

CONFIG_FILE, MODEL_FILE, STATE_FILE, MANIFEST_FILE = "config.json", "model.pt", "training_state.pt", "manifest.json"
MILESTONES, FORMAT_VERSION = "milestones", 1


def step_folder(run_dir: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return run_dir / f"step-{step:07d}"


def checkpoints(run_dir: Path) -> list[Path]:
    """Return the checkpoint folders of a run, newest first; not verified."""
    return sorted(run_dir.glob("step-" + "[0-9]" * 7), reverse=True)


# --- writing ------------------------------------------------------------------------------------------------


def torch_bytes(value: object) -> bytes:
    """Return the bytes that `torch.save` writes for a value."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _write_synced(path: Path, content: bytes) -> None:
    with naming(path), open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files, {name: bytes}, complete or absent; an older folder is moved aside, then removed."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    replaced = partial.with_suffix(".old")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process with this number
    try:
        partial.mkdir(parents=True)
        for name, content in contents.items():
            _write_synced(partial / name, content)
        fsync_folder(partial)
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
        fsync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)


def save_checkpoint(folder: Path, contents: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write a folder with a manifest, which has the digests of the files and `facts` (plain JSON values)."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = {"format_version": FORMAT_VERSION, **facts, "sha256": digests}
    write_folder(folder, {**contents, MANIFEST_FILE: json_bytes(manifest)})


# --- finding ------------------------------------------------------------------------------------------------


def verify(folder: Path) -> dict[str, Any]:
    """Compare a checkpoint's files with the digests in its manifest; returns the manifest, or raises FormatError."""
    file = folder / MANIFEST_FILE
    if not file.is_file():
        raise FormatError(f"{folder}: expected a checkpoint, found no {file.name}; name a run or a step folder")
    manifest = read_json(file, format_version=int, step=int, sha256=dict[str, str])
    if manifest["format_version"] != FORMAT_VERSION:
        raise FormatError(f"{file}: expected format version {FORMAT_VERSION}; use the package version that wrote it")
    for name, digest in manifest["sha256"].items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            expected = f"expected sha256 {digest[:12]}…, found another or no file"
            raise FormatError(f"{folder / name}: {expected}; use another checkpoint")
    return manifest


def newest_good(run_dir: Path) -> Path | None:
    """Return the newest checkpoint of a run that passes `verify`, or None for a new run folder.

    Damaged checkpoints are reported on stderr and renamed, so that they are neither loaded nor overwritten. If all are
    damaged, FormatError is raised: a run never starts over by accident.
    """
    for leftover in (*run_dir.glob(".step-*"), *run_dir.glob(f"{MILESTONES}/.step-*")):  # of a process that was killed
        shutil.rmtree(leftover)
    for folder in checkpoints(run_dir):
        try:
            verify(folder)
            return folder
        except FormatError as error:
            number = len([*run_dir.glob(f"damaged-{folder.name}-*")])
            renamed = folder.rename(folder.with_name(f"damaged-{folder.name}-{number}"))
            print(f"WARNING: damaged checkpoint: {error}; kept as {renamed.name}, falling back", file=sys.stderr)
    if any(run_dir.glob("damaged-step-*")):
        raise FormatError(f"{run_dir}: all checkpoints are damaged; delete the folder to start over from step 0")
    return None


def default_checkpoint(run_dir: Path) -> Path:
    """Return the user's run if it has a checkpoint, otherwise the model that ships, with a note on stderr."""
    if any(run_dir.glob("[sd]*-[0-9]*")):  # step-N or damaged-step-N
        return run_dir
    print(f"note: no run in {run_dir}; using {SHIPPED.name}, the model that ships with this package", file=sys.stderr)
    return SHIPPED


def resolve_checkpoint(path: Path) -> Path:
    """Return the verified checkpoint at `path`: `path` is a checkpoint, a run (newest taken) or a shipped model's name.

    Raises FileNotFoundError if there is no such folder, FormatError if it is damaged or is not a checkpoint.
    """
    path = model_folder(path)
    if not path.is_dir():
        remedy = f"train one, or use {SHIPPED.name}"
        raise FileNotFoundError(f"{path}: expected a checkpoint or run folder, found none; {remedy}")
    folder = next(iter(checkpoints(path)), path)
    verify(folder)
    return folder


# --- reading ------------------------------------------------------------------------------------------------


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of a checkpoint's config.json, whose settings are valid but may be incomplete (imports)."""
    file = folder / CONFIG_FILE
    if "finetune" in (config := read_json(file)):
        config = read_json(file, finetune=dict, task=str, labels=list[str], score_range=list[float])
        from_dict(FinetuneConfig, config["finetune"], file, is_partial=True)
    else:
        config = read_json(file, pretrain=dict)
        from_dict(PretrainConfig, config["pretrain"], file, is_partial=True)
    return config


def load_encoder_config(folder: Path) -> EncoderConfig:
    """Return the shape of a checkpoint's encoder. FormatError if a setting is unknown, missing or not allowed."""
    file = folder / CONFIG_FILE
    return from_dict(EncoderConfig, read_json(file, encoder=dict)["encoder"], file)


def max_seq_length(config: Mapping[str, Any]) -> int:
    """Return the length, in tokens, of the longest row of a checkpoint's training; later positions are untrained."""
    trained = config.get("finetune") or config["pretrain"]
    positions = int(config["encoder"]["max_position_embeddings"])
    return min(trained.get("max_seq_length") or trained.get("seq_length") or positions, positions)


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors and plain values in a `torch.save` file, by name. FormatError if it has code; none is run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises anything, from struct.error to IndexError
        code = re.search(r"GLOBAL (\S+)", str(error))
        found = f"code that it would run ({code[1]})" if code else f"a damaged file ({type(error).__name__})"
        raise FormatError(f"{path}: expected tensors, found {found}; nothing was run, get the file again") from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise FormatError(f"{path}: expected a table of tensors, found something else; get the file again")
    return content


def mismatches(expected: Mapping[str, torch.Size], found: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each tensor that is missing, unexpected, of another shape, or not of floats."""
    wrong = [f"no {name}" for name in expected.keys() - found.keys()]
    wrong += [f"an unexpected {name}" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        if not isinstance(found[name], Tensor) or not found[name].is_floating_point():
            wrong.append(f"{name} that holds no floats")
        elif found[name].shape != expected[name]:
            wrong.append(f"{name} of shape {[*found[name].shape]} instead of {[*expected[name]]}")
    return sorted(wrong)


def in_brief(phrases: Iterable[str], most: int = 5) -> str:
    """Return the first `most` phrases as one text, with the number of the other phrases."""
    phrases = [*phrases]
    return "; ".join(phrases[:most]) + (f"; and {len(phrases) - most} more" if len(phrases) > most else "")


def load_weights(folder: Path, module: nn.Module, prefix: str = "") -> None:
    """Copy a checkpoint's weights whose names start with `prefix` into a module; shared embeddings stay shared.

    Raises FormatError if tensors are missing, unexpected or of another shape.
    """
    saved = read_tensors(folder / MODEL_FILE)
    part = {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
    if wrong := mismatches({name: tensor.shape for name, tensor in module.state_dict().items()}, part):
        expected = f"expected the model's tensors{f' under {prefix}' if prefix else ''}"
        raise FormatError(f"{folder / MODEL_FILE}: {expected}, found {in_brief(wrong)}; name another checkpoint")
    module.load_state_dict(part)


ENCODERS = ("discriminator.encoder.", "encoder.", "generator.encoder.")
"""Prefixes of the encoder's weights, the preferred first: in a pair, in a fine-tuned model, in a masked-LM control."""


def load_encoder_weights(folder: Path, encoder: nn.Module) -> None:
    """Copy the weights of a checkpoint's main encoder into an encoder. Errors are those of `load_weights`."""
    names = read_tensors(folder / MODEL_FILE)
    prefixes = (prefix for prefix in ENCODERS if any(name.startswith(prefix) for name in names))
    load_weights(folder, encoder, next(prefixes, ENCODERS[0]))


def load_networks(folder: Path, model: nn.Module, networks: str, settings: Mapping[str, Any]) -> None:
    """Copy the weights of both networks, or of the discriminator alone, into a new run's model.

    `networks` is "both" or "discriminator"; `settings` are the new run's, with "encoder" and "pretrain" as dicts. A
    masked LM gives its encoder to the discriminator, whose head then starts new. Raises ValueError if a network is
    missing or a shape differs; its message names the flags to change.
    """
    if networks == "discriminator" and not hasattr(model, "discriminator"):
        raise ValueError("--init-networks discriminator: --objective mlm has no discriminator; leave the flag out")
    config = read_json(folder / CONFIG_FILE, encoder=dict)
    if "pretrain" not in config:
        raise FormatError(f"{folder}: expected a pre-trained model, found a fine-tuned one; name another checkpoint")
    has = {name.split(".")[0] for name in read_tensors(folder / MODEL_FILE)}
    if networks == "both" and (missing := {*dict(model.named_children())} - has):
        remedy = "pass --init-networks discriminator to start a new one"
        raise FormatError(f"{folder}: it has no {' and no '.join(sorted(missing))}; {remedy}")
    saved, asked = {**config["pretrain"], **config["encoder"]}, {**settings["pretrain"], **settings["encoder"]}
    shape = ["embedding_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "type_vocab_size"]
    shape += ["max_position_embeddings"] + ["generator_size"] * (networks == "both" and "generator_size" in saved)
    if flags := [f"{flag_name(name)} {saved[name]}" for name in shape if saved[name] != asked[name]]:
        raise FormatError(f"{folder}: its shape is not the shape asked for; add {' '.join(flags)}")
    if networks == "both":
        load_weights(folder, model)
    elif "discriminator" in has:
        load_weights(folder, model.get_submodule("discriminator"), "discriminator.")
    else:
        load_encoder_weights(folder, model.get_submodule("discriminator.encoder"))
