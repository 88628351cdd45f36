"""Checkpoints that are complete or absent, verified on load, with the last good one to fall back on.

A checkpoint is a folder `step-NNNNNNN/`: config.json, tokenizer.json, model.pt (weights only), training_state.pt
and manifest.json with the step, facts of the run and the SHA-256 of every other file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from electra.cli import from_dict
from electra.config import EncoderConfig
from electra.files import FormatError, fsync_folder, read_json, sha256_file
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer

FORMAT_VERSION = 1
MODEL_FILE = "model.pt"


def step_folder(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of a step lives."""
    return run_dir / f"step-{step:07d}"


def checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, newest first; unverified."""
    return sorted(run_dir.glob("step-" + "[0-9]" * 7), reverse=True)


def json_bytes(value: object) -> bytes:
    """A value as an indented JSON file."""
    return (json.dumps(value, indent=2) + "\n").encode()


def torch_bytes(value: object) -> bytes:
    """A value as `torch.save` writes it."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder under a temporary name, sync it, and rename it into place: it is complete or absent.

    Args:
        folder: the final name; a folder that stands there already is moved aside.
        contents: the bytes of each file.
    """
    partial = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, content in contents.items():
            _write_synced(partial / name, content)
        fsync_folder(partial)
        if folder.exists():
            move_aside(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    fsync_folder(folder.parent)


def save_checkpoint(folder: Path, contents: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint folder and its manifest, all or nothing.

    Args:
        folder: the final name; a folder that stands there already is moved aside.
        contents: the bytes of each file.
        facts: what the manifest says of the checkpoint, as plain JSON values.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = {"format_version": FORMAT_VERSION, **facts, "sha256": digests}
    write_folder(folder, {**contents, "manifest.json": json_bytes(manifest)})


def load_networks(folder: Path, model: nn.Module, networks: str) -> None:
    """Start a new run from a model's weights: both networks, or the discriminator and a new generator.

    Raises:
        FormatError: the generator is asked for and not there, or a tensor does not fit.
    """
    if networks == "discriminator" and not hasattr(model, "discriminator"):
        raise ValueError("--init-networks: expected both with --objective mlm, found discriminator; leave it out")
    if networks == "both":
        saved = read_tensors(folder / "model.pt")
        if not any(name.startswith("generator.") for name in saved):
            raise FormatError(
                f"{folder}: expected generator and discriminator, found the discriminator alone; "
                "pass --init-networks discriminator to start a new generator"
            )
        load_weights(folder, model)
    else:
        load_part(folder, model.get_submodule("discriminator"), "discriminator.")


def check_same_tokenizer(folder: Path, tokenizer: Tokenizer | WordPieceTokenizer, where: Path) -> None:
    """Refuse to read one tokenizer's ids with a model of another.

    Raises:
        FormatError: the checkpoint's tokenizer is not the one of the data at `where`.
    """
    ours = load_tokenizer(folder)
    if ours.fingerprint != tokenizer.fingerprint:
        raise FormatError(
            f"{where}: expected the tokenizer of {folder} ({ours.vocab_size:,} words, {ours.fingerprint[:12]}), found "
            f"another ({tokenizer.vocab_size:,} words, {tokenizer.fingerprint[:12]}); prepare the data with "
            f"--tokenizer {folder}"
        )


def move_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it is neither loaded nor overwritten."""
    number = 0
    while (aside := folder.with_name(f"damaged-{folder.name}-{number}")).exists():
        number += 1
    return folder.rename(aside)


def verify(folder: Path) -> dict[str, Any]:
    """Check a checkpoint's files against its manifest, and return the manifest.

    Raises:
        FormatError: a file is missing, changed or cut; or the folder is no checkpoint.
    """
    if not (folder / "manifest.json").is_file():
        raise FormatError(f"{folder}: expected a checkpoint, found no manifest.json; name a run or a step folder")
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict) or "format_version" not in manifest:
        raise FormatError(f"{folder}: expected a checkpoint, found something else; name a run or a step folder")
    if manifest["format_version"] != FORMAT_VERSION:
        raise FormatError(f"{folder}/manifest.json: expected format version {FORMAT_VERSION}, found another; "
                          "use the version of this package that wrote it")  # fmt: skip
    for name, digest in manifest["sha256"].items():
        found = sha256_file(folder / name) if (folder / name).is_file() else "no such file"
        if found != digest:
            raise FormatError(f"{folder / name}: expected sha256 {digest[:12]}…, found {found[:12]}…; "
                              "use another checkpoint")  # fmt: skip
    return manifest


def newest_good(run_dir: Path) -> Path | None:
    """The newest checkpoint of a run that verifies; damaged ones are named on stderr and moved aside.

    Raises:
        FormatError: there are checkpoints, now or moved aside before, and none is good: a run never starts over
            by accident.
    """
    for folder in checkpoints(run_dir):
        try:
            verify(folder)
            return folder
        except FormatError as error:
            aside = move_aside(folder)
            print(f"WARNING: damaged checkpoint: {error}; kept as {aside.name}, falling back", file=sys.stderr)
    if any(run_dir.glob("damaged-step-*")):
        raise FormatError(f"{run_dir}: expected a good checkpoint, found only damaged ones; "
                          "delete the folder to start over from step 0")  # fmt: skip
    return None


def resolve_checkpoint(path: Path) -> Path:
    """A checkpoint folder from a path that is one, or that is a run folder holding some; verified.

    Raises:
        FileNotFoundError: there is nothing there.
        FormatError: what is there is damaged, or no checkpoint.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise FileNotFoundError(f"{path}: expected a checkpoint or a run folder, found {found}; train one with "
                                "python train_pretrain.py")  # fmt: skip
    folder = next((folder for folder in checkpoints(path)), path)
    verify(folder)
    return folder


def read_tensors(path: Path) -> Any:
    """What `torch.save` wrote, as long as it is tensors and plain values; code in a file is never run.

    Raises:
        FormatError: the file is damaged, or holds code.
    """
    with open(path, "rb") as file:
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises anything, from struct.error to IndexError
            code = re.search(r"GLOBAL (\S+)", str(error))
            found = f"code that it would run ({code[1]})" if code else f"a damaged file ({type(error).__name__})"
            raise FormatError(f"{path}: expected tensors, found {found}; nothing was run, get the file again") from None


def load_weights(folder: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into a model, strictly; ties stay ties because values are copied.

    Raises:
        FormatError: tensors are missing, unexpected or of another shape; the first are named.
    """
    _load_strictly(folder, model, read_tensors(folder / "model.pt"), "build the model from the checkpoint's config")


def _load_strictly(folder: Path, module: nn.Module, tensors: Mapping[str, Tensor], remedy: str) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        found = [line.strip().rstrip(".") for line in str(error).splitlines()[1:]]
        more = f"; and {len(found) - 2} more" if len(found) > 2 else ""
        raise FormatError(f"{folder}/model.pt: {'; '.join(found[:2])}{more}; {remedy}") from None


def load_part(folder: Path, module: nn.Module, prefix: str) -> None:
    """Copy the weights whose names start with `prefix` into a module, strictly."""
    saved = read_tensors(folder / "model.pt")
    part = {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
    _load_strictly(folder, module, part, "name another checkpoint, or its shape")


ENCODERS = ("discriminator.encoder.", "encoder.", "generator.encoder.")
"""Where a checkpoint's encoder is, by preference: of a pair, of a fine-tuned model, of a masked-LM control."""


def load_encoder_weights(folder: Path, encoder: nn.Module) -> None:
    """Copy the encoder that a checkpoint is about into an encoder, strictly."""
    names = read_tensors(folder / "model.pt")
    prefixes = (prefix for prefix in ENCODERS if any(name.startswith(prefix) for name in names))
    load_part(folder, encoder, next(prefixes, ENCODERS[0]))


def load_encoder_config(folder: Path) -> EncoderConfig:
    """The encoder's shape as the checkpoint's config.json states it."""
    return from_dict(EncoderConfig, read_json(folder / "config.json")["encoder"], folder / "config.json")
