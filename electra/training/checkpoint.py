"""Checkpoints: complete or absent, verified when opened; a run falls back on the last good one.

A checkpoint is a folder `step-NNNNNNN/`: config.json, the tokenizer's file, model.pt (weights only), in a run's own
checkpoints training_state.pt, and manifest.json with the step, facts of the run and the SHA-256 of every other file.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from electra.cli import flag_name, from_dict
from electra.config import EncoderConfig, FinetuneConfig, PretrainConfig
from electra.files import FormatError, fsync_folder, read_json, sha256_file
from electra.files import json_bytes as json_bytes
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer

CONFIG_FILE, MODEL_FILE, STATE_FILE, MANIFEST_FILE = "config.json", "model.pt", "training_state.pt", "manifest.json"
FORMAT_VERSION = 1
MODEL_FILE = "model.pt"


def step_folder(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of a step lives."""
    return run_dir / f"step-{step:07d}"


def checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, newest first; unverified."""
    return sorted(run_dir.glob("step-" + "[0-9]" * 7), reverse=True)


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
        folder: the final name. A good checkpoint of that name is replaced; anything else there is moved aside.
        contents: the bytes of each file.

    Raises:
        OSError: the disk is full, or the place cannot be written to; what was there stays.
    """
    partial = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"  # not that of another process
    path = partial
    try:
        partial.mkdir(parents=True)
        for name, content in contents.items():
            path = partial / name
            _write_synced(path, content)
        fsync_folder(partial)
        path = folder
        _put_in_place(partial, folder)
        fsync_folder(folder.parent)
    except OSError as error:
        raise OSError(f"{folder}: cannot write {error.filename or path} ({error.strerror or error}); "
                      "make room or choose another folder, then repeat the command") from None  # fmt: skip
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    try:
        verify(folder)
    except FormatError:
        move_aside(folder)
        partial.rename(folder)
    else:
        old = folder.rename(partial.with_suffix(".old"))
        partial.rename(folder)
        shutil.rmtree(old)


def save_checkpoint(folder: Path, contents: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint folder and its manifest, all or nothing.

    Args:
        folder, contents: as in `write_folder`.
        facts: what the manifest says of the checkpoint, as plain JSON values.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = {"format_version": FORMAT_VERSION, **facts, "sha256": digests}
    write_folder(folder, {**contents, "manifest.json": json_bytes(manifest)})


def load_networks(folder: Path, model: nn.Module, networks: str, settings: Mapping[str, Any]) -> None:
    """Start a new run from a model's weights: from both networks, or from the discriminator with a new generator.

    Args:
        networks: "both" or "discriminator".
        settings: the new run's, "encoder" and "pretrain" as dicts.

    Raises:
        ValueError, FormatError: a network is asked for and not there, or the shapes differ; the message has the flags
            that make them equal.
    """
    needed = {name for name, _ in model.named_children()} if networks == "both" else {"discriminator"}
    if not hasattr(model, "discriminator") and networks == "discriminator":
        raise ValueError("--init-networks: expected both with --objective mlm, found discriminator; leave it out")
    saved = {name.partition(".")[0] for name in read_tensors(folder / MODEL_FILE)} & {"discriminator", "generator"}
    if missing := needed - saved:
        remedy = "pass --init-networks discriminator to start a new generator"
        raise FormatError(f"{folder}: expected {' and '.join(sorted(needed))}, found "
                          f"{' and '.join(f'the {name} alone' for name in sorted(saved)) or 'neither'}; "
                          f"{remedy if missing == {'generator'} else 'name another checkpoint'}")  # fmt: skip
    _check_same_shape(folder, settings, with_generator="generator" in needed and "discriminator" in needed)
    if networks == "both":
        load_weights(folder, model)
    else:
        load_part(folder, model.get_submodule("discriminator"), "discriminator.")


SHAPE = ("embedding_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_position_embeddings",
         "type_vocab_size")  # fmt: skip
"""The settings that must be equal for weights to mean the same, once the vocabulary is."""


def _check_same_shape(folder: Path, settings: Mapping[str, Any], *, with_generator: bool) -> None:
    encoder = vars(load_encoder_config(folder))
    saved, asked = {name: encoder[name] for name in SHAPE}, {**settings["pretrain"], **settings["encoder"]}
    pretrain = read_json(folder / CONFIG_FILE, pretrain=dict)["pretrain"]
    if with_generator and "generator_size" in pretrain:
        saved["generator_size"] = pretrain["generator_size"]
    wrong = {name: value for name, value in saved.items() if value != asked[name]}
    if wrong:
        found = ", ".join(f"{name} {value} instead of {asked[name]}" for name, value in wrong.items())
        if saved["max_position_embeddings"] < asked["seq_length"]:
            wrong["seq_length"] = saved["max_position_embeddings"]
        flags = " ".join(f"{flag_name(name)} {value}" for name, value in wrong.items())
        raise FormatError(f"{folder}: expected the shape asked for, found {found}; add {flags}")


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
    file = folder / MANIFEST_FILE
    if not file.is_file():
        raise FormatError(f"{folder}: expected a checkpoint, found no {file.name}; name a run or a step folder")
    manifest = read_json(file, step=int | None, sha256=dict | None)
    if "format_version" not in manifest:
        raise FormatError(f"{folder}: expected a checkpoint, found something else; name a run or a step folder")
    if manifest["format_version"] != FORMAT_VERSION:
        raise FormatError(f"{file}: expected format version {FORMAT_VERSION}, found another; "
                          "use the version of this package that wrote it")  # fmt: skip
    digests = read_json(file, step=int, sha256=dict[str, str])["sha256"]
    for name, digest in {**dict.fromkeys((CONFIG_FILE, MODEL_FILE), "one"), **digests}.items():
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
    for leftover in run_dir.glob(".step-*.partial"):  # of a process that was killed; this one has the folder's lock
        shutil.rmtree(leftover)
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


PRETRAINED = Path(__file__).parent.parent / "pretrained"
"""Where a model that ships with this package is, one a folder; its name is taken wherever a checkpoint's path is."""

SHIPPED = "mini"


def default_checkpoint(run_dir: Path) -> Path:
    """The user's own run if there is one, else the model that ships with this package, which is said on stderr."""
    if run_dir.exists() or not (PRETRAINED / SHIPPED).is_dir():
        return run_dir
    print(f"note: there is no run in {run_dir}: {SHIPPED}, the model that comes with this package, is used",
          file=sys.stderr)  # fmt: skip
    return PRETRAINED / SHIPPED


def resolve_checkpoint(path: Path) -> Path:
    """A checkpoint folder from its path, a run folder's, or the name of a model that ships with this package; verified.

    Raises:
        FileNotFoundError: there is nothing there.
        FormatError: what is there is damaged, or no checkpoint.
    """
    if not path.exists() and path.name == str(path) and (PRETRAINED / path).is_dir():
        path = PRETRAINED / path
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise FileNotFoundError(f"{path}: expected a checkpoint or a run folder, found {found}; train one with "
                                "python train_pretrain.py")  # fmt: skip
    folder = next(iter(checkpoints(path)), path)
    verify(folder)
    return folder


def read_tensors(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, as long as it is a table of tensors and plain values; code in a file is never run.

    Raises:
        FormatError: the file is damaged, or holds code or something else.
    """
    with open(path, "rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises anything, from struct.error to IndexError
            code = re.search(r"GLOBAL (\S+)", str(error))
            found = f"code that it would run ({code[1]})" if code else f"a damaged file ({type(error).__name__})"
            raise FormatError(f"{path}: expected tensors, found {found}; nothing was run, get the file again") from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise FormatError(f"{path}: expected a table of tensors, found something else; get the file again")
    return content


def mismatches(expected: Mapping[str, torch.Size], found: Mapping[str, Any]) -> list[str]:
    """Why tensors are not those expected: a phrase for each one missing, unexpected, of another shape, or no floats."""
    wrong = [f"no {name}" for name in expected.keys() - found.keys()]
    wrong += [f"an unexpected {name}" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        if not isinstance(found[name], Tensor) or not found[name].is_floating_point():
            wrong.append(f"{name} that holds no floats")
        elif found[name].shape != expected[name]:
            wrong.append(f"{name} of shape {[*found[name].shape]} instead of {[*expected[name]]}")
    return sorted(wrong)


def in_brief(phrases: Iterable[str], most: int = 5) -> str:
    """Some phrases in a row, and how many more there are."""
    phrases = [*phrases]
    return "; ".join(phrases[:most]) + (f"; and {len(phrases) - most} more" if len(phrases) > most else "")


def load_weights(folder: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into a model, strictly; ties stay ties because values are copied.

    Raises:
        FormatError: tensors are missing, unexpected or of another shape; the first are named.
    """
    load_part(folder, model, "")


def load_part(folder: Path, module: nn.Module, prefix: str) -> None:
    """Copy the weights whose names start with `prefix` into a module, strictly. Raises: as `load_weights`."""
    saved = read_tensors(folder / MODEL_FILE)
    part = {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
    if wrong := mismatches({name: tensor.shape for name, tensor in module.state_dict().items()}, part):
        raise FormatError(f"{folder / MODEL_FILE}: expected the model's tensors{f' under {prefix}' if prefix else ''}, "
                          f"found {in_brief(wrong)}; name another checkpoint, or its shape")  # fmt: skip
    module.load_state_dict(part)


ENCODERS = ("discriminator.encoder.", "encoder.", "generator.encoder.")
"""Where a checkpoint's encoder is, by preference: of a pair, of a fine-tuned model, of a masked-LM control."""


def load_encoder_weights(folder: Path, encoder: nn.Module) -> None:
    """Copy the encoder that a checkpoint is about into an encoder, strictly. Raises: as `load_weights`."""
    names = read_tensors(folder / MODEL_FILE)
    prefixes = (prefix for prefix in ENCODERS if any(name.startswith(prefix) for name in names))
    load_part(folder, encoder, next(prefixes, ENCODERS[0]))


_SECTIONS: Mapping[str, tuple[type[Any], dict[str, Any], set[str]]] = {
    "pretrain": (PretrainConfig, {"pretrain": dict}, set()),
    "finetune": (
        FinetuneConfig,
        {
            "finetune": dict,
            "task": str,
            "labels": list[str],
            "score_range": list[float],
            "text_columns": list[str] | None,
        },
        {"pooling", "head", "max_seq_length"},
    ),
}
"""How a checkpoint's settings were made: their class, the fields of config.json, the settings that must be there."""


def read_settings(folder: Path) -> dict[str, Any]:
    """A checkpoint's config.json, with "pretrain" or "finetune", which may lack settings if it was imported.

    Raises:
        FormatError: a part is missing, of another type or impossible.
    """
    file = folder / CONFIG_FILE
    section = "finetune" if "finetune" in read_json(file) else "pretrain"
    config_class, fields, needed = _SECTIONS[section]
    config = read_json(file, tokenizer=str | None, shards=str | None, **fields)
    from_dict(config_class, config[section], file, is_partial=True)
    if missing := sorted(needed - config[section].keys()):
        raise FormatError(f"{file}: expected {missing[0]!r} in {section!r}, found no such field; restore the file")
    if len(config.get("score_range", (0, 1))) != 2:
        raise FormatError(f"{file}: expected two numbers as 'score_range', found another count; restore the file")
    return config


def load_encoder_config(folder: Path) -> EncoderConfig:
    """The encoder's shape as the checkpoint's config.json states it. Raises: as `encoder_config`."""
    file = folder / CONFIG_FILE
    return encoder_config(read_json(file, encoder=dict)["encoder"], file)


def encoder_config(values: Mapping[str, Any], file: Path) -> EncoderConfig:
    """The shape that a file states.

    Raises:
        FormatError: a setting is unknown, missing or impossible.
    """
    try:
        return from_dict(EncoderConfig, values, file)
    except ValueError as error:
        raise FormatError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None
