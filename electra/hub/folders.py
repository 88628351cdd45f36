"""Hugging Face folders: export to them and import from them.

A folder holds config.json, the weights and the tokenizer's files. Discriminator and generator are a folder each, as
released; both hold the embeddings that they share, and an import checks that these agree.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from electra.cli import Parser, differences
from electra.config import EncoderConfig
from electra.files import FormatError, read_json
from electra.hub.card import model_card, results_of
from electra.hub.names import (
    PARTS,
    from_theirs,
    label_config,
    read_config,
    read_labels,
    their_config,
    to_theirs,
)
from electra.tokenizer.byte_level import SPECIAL_TOKENS, Tokenizer
from electra.tokenizer.json_format import UNKNOWN
from electra.tokenizer.wordpiece import load_tokenizer, tokenizer_file
from electra.training.checkpoint import (
    CONFIG_FILE,
    MODEL_FILE,
    default_checkpoint,
    in_brief,
    json_bytes,
    load_encoder_config,
    read_settings,
    read_tensors,
    resolve_checkpoint,
    save_checkpoint,
    torch_bytes,
    verify,
    write_folder,
)

WEIGHTS_NAME = "pytorch_model.bin"
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", WEIGHTS_NAME, f"{WEIGHTS_NAME}.index.json")
"""Where transformers looks for weights: it reads the first of these that is there."""

PREFIXES = {"discriminator": "discriminator.", "generator": "generator.", "classifier": "", "encoder": "discriminator."}
"""Where our model.pt keeps each part; a bare encoder is a discriminator without its head."""


def read_weights(folder: Path) -> tuple[list[Path], dict[str, Tensor]]:
    """The weights files of a folder, of which the first was read, and its tensors; code in it is refused, not run.

    Raises:
        FileNotFoundError: there is no such file, or a shard is missing.
        FormatError: it is damaged, or holds more than tensors, or needs a package that is not installed.
    """
    files = [folder / name for name in WEIGHT_FILES if (folder / name).exists()]
    if not files:
        raise FileNotFoundError(f"{folder}: expected {' or '.join(WEIGHT_FILES)}, found none; get one of them")
    if files[0].suffix != ".json":
        return files, _read_weights_file(files[0])
    homes = read_json(files[0], weight_map=dict[str, str])["weight_map"]
    tensors: dict[str, Tensor] = {}
    for name in sorted({*homes.values()}):
        if name != Path(name).name or not (folder / name).is_file():
            raise FileNotFoundError(f"{files[0]}: expected its shard {name} beside it, found none; get all shards")
        tensors |= _read_weights_file(folder / name)
    if wrong := homes.keys() ^ tensors.keys():
        raise FormatError(f"{files[0]}: expected it to list the tensors of its shards, found a difference in "
                          f"{in_brief(sorted(wrong))}; get all shards of one model")  # fmt: skip
    return files, tensors


def _read_weights_file(file: Path) -> dict[str, Tensor]:
    if file.suffix != ".safetensors":
        return read_tensors(file)
    try:
        package, reader = importlib.import_module("safetensors"), importlib.import_module("safetensors.torch")
    except ImportError:
        raise FormatError(f"{file}: expected the safetensors package to read it, found it not installed; "
                          f"pip install safetensors, or save the model as {WEIGHTS_NAME}") from None  # fmt: skip
    try:
        return dict(reader.load_file(file))
    except package.SafetensorError as error:
        raise FormatError(f"{file}: expected safetensors, found a damaged file ({error}); restore it") from None


class HubFolder(NamedTuple):
    """A folder that was read and found to be whole."""

    part: str
    encoder: EncoderConfig
    config: Mapping[str, Any]  # config.json
    weights: Mapping[str, Tensor]  # under our names, without the part's prefix
    files: list[Path]  # of weights: the first was read
    tokenizer: Path  # the tokenizer's file
    fingerprint: str  # of the tokenizer


def read_folder(folder: Path) -> HubFolder:
    """Read one folder, strictly.

    Raises:
        FileNotFoundError, FormatError, ValueError: something in it is missing, damaged, or not as config.json says.
    """
    part, encoder, config = read_config(folder / "config.json")
    labels = read_labels(config, folder / "config.json") if part == "classifier" else []
    files, tensors = read_weights(folder)
    weights = from_theirs(part, tensors, encoder, len(labels), files[0])
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size != encoder.vocab_size:
        raise FormatError(f"{folder}: expected a tokenizer of the model's {encoder.vocab_size:,} words, found one of "
                          f"{tokenizer.vocab_size:,}; use the tokenizer it was trained with")  # fmt: skip
    return HubFolder(part, encoder, config, weights, files, tokenizer_file(folder), tokenizer.fingerprint)


def generator_size(discriminator: HubFolder, generator: HubFolder) -> float:
    """The generator's width over the discriminator's, once the two are found to be a pair.

    Raises:
        FormatError: they are not: shapes, shared weights or tokenizers differ.
    """
    size = generator.encoder.hidden_size / discriminator.encoder.hidden_size
    try:
        wrong = differences(generator.encoder, discriminator.encoder.generator(size))
    except ValueError:
        wrong = [f"a width of {generator.encoder.hidden_size} for {discriminator.encoder.hidden_size}"]
    wrong += [
        f"{name} differs"
        for name, tensor in generator.weights.items()
        if name.startswith("encoder.embeddings.") and not torch.equal(tensor, discriminator.weights[name])
    ]
    if generator.fingerprint != discriminator.fingerprint:
        wrong.append("the tokenizer differs")
    if wrong:
        raise FormatError(f"{generator.tokenizer.parent}: expected the generator of {discriminator.tokenizer.parent}, "
                          f"found {'; '.join(wrong)}; import the discriminator alone")  # fmt: skip
    return size


def _settings(parts: Mapping[str, HubFolder]) -> dict[str, Any]:
    """The checkpoint's config.json: what the folders say, and nothing else."""
    first = next(iter(parts.values()))
    if "classifier" in parts:
        labels = read_labels(first.config, first.tokenizer.parent / "config.json")
        finetune = {
            "pooling": "first",
            "head": "mlp",
            "token_types": True,
            "precision": "fp32",
            "max_seq_length": first.encoder.max_position_embeddings,
        }
        return {
            "finetune": finetune,
            "task": first.config.get("finetuning_task") or "",
            "labels": labels if len(labels) > 1 else [],
            "score_range": first.config.get("score_range") or [0.0, 1.0],
        }
    if "generator" in parts:
        if "discriminator" not in parts:
            return {"pretrain": {"objective": "mlm"}}
        return {"pretrain": {"generator_size": generator_size(parts["discriminator"], parts["generator"])}}
    return {"pretrain": {}}


def _part_folders(folder: Path) -> list[Path]:
    if (folder / "config.json").exists():
        return [folder]
    found = sorted(file.parent for file in folder.glob("[!.]*/config.json"))
    if not found:
        raise FileNotFoundError(f"{folder}: expected a config.json, or folders with one each, found none; "
                                "name a folder with a model")  # fmt: skip
    return found


def import_folders(folders: Sequence[Path], out: Path) -> dict[str, HubFolder]:
    """Make a checkpoint of a discriminator and its generator, or of one part; a generator alone is a masked LM.

    Args:
        folders: one a part, or one that holds a folder for each.
        out: the checkpoint to make.

    Returns:
        What was read, by the name of the part.

    Raises:
        FileNotFoundError, FormatError, ValueError: a folder is not whole, the parts do not make a model, or `out`
            exists; then nothing is written.
    """
    if out.exists():
        raise FormatError(f"{out}: exists already; name another --out, or remove it")
    read = [read_folder(part) for folder in folders for part in _part_folders(folder)]
    parts = {folder.part: folder for folder in sorted(read, key=lambda folder: folder.part)}
    if len(parts) < len(read) or (len(parts) > 1 and [*parts] != ["discriminator", "generator"]):
        raise FormatError(f"{', '.join(map(str, folders))}: expected a discriminator and its generator, or one part, "
                          f"found {', '.join(folder.part for folder in read)}; "
                          "name the folders of one model")  # fmt: skip
    first = next(iter(parts.values()))
    weights = {PREFIXES[part] + name: t for part, folder in parts.items() for name, t in folder.weights.items()}
    settings = {"encoder": dataclasses.asdict(first.encoder), **_settings(parts), "tokenizer": first.fingerprint}
    contents = {
        CONFIG_FILE: json_bytes(settings),
        first.tokenizer.name: first.tokenizer.read_bytes(),
        MODEL_FILE: torch_bytes(weights),
    }
    save_checkpoint(out, contents, {"step": 0, "imported_from": [str(f.tokenizer.parent) for f in parts.values()]})
    return parts


def tokenizer_contents(checkpoint: Path, max_length: int) -> dict[str, bytes]:
    """The tokenizer's files: our own as it is, and how `AutoTokenizer` is to read it.

    Without the class it would take a WordPiece tokenizer for model type "electra", and without the input names it
    would leave token types out, so that the second text of a pair had type 0.
    """
    file = tokenizer_file(checkpoint)
    is_bpe = isinstance(load_tokenizer(file), Tokenizer)
    names = ("pad", "cls", "sep", "mask")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast" if is_bpe else "BertTokenizer",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": token for name, token in zip(names, SPECIAL_TOKENS, strict=True)},
        **({} if is_bpe else {"unk_token": UNKNOWN, "do_lower_case": True}),
    }
    return {file.name: file.read_bytes(), "tokenizer_config.json": json_bytes(config)}


def exported_parts(
    config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], str]:
    """The tensors of each part that a checkpoint has, under our names; and why it is less than all, or nothing."""
    if "finetune" in config:
        pooling, head = config["finetune"]["pooling"], config["finetune"]["head"]
        if (pooling, head) == ("first", "mlp"):
            return {"classifier": dict(weights)}, ""
        encoder = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
        return {"encoder": encoder}, (
            f"the classifier's pooling {pooling} and head {head} cannot be expressed there, only first and mlp: "
            "the encoder is exported without them"
        )
    parts = {
        part: {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        for part, prefix in (("discriminator", "discriminator."), ("generator", "generator."))
    }
    if parts["discriminator"] and "dense.weight" not in parts["discriminator"]:
        return {"encoder": parts["discriminator"]}, ""
    return {part: tensors for part, tensors in parts.items() if tensors}, ""


def export(checkpoint: Path, out: Path, results: Path | None = None) -> tuple[dict[str, Path], str]:
    """Write a folder for each part of a checkpoint under `out`; its model card shows `results` of train_glue.py.

    Returns:
        The folder of each part; and why something was left out, or "".

    Raises:
        FileNotFoundError, FormatError: the checkpoint is missing or damaged, or a folder exists already and is not
            what this export writes; then nothing is written.
    """
    checkpoint = resolve_checkpoint(checkpoint)
    config, encoder = read_settings(checkpoint), load_encoder_config(checkpoint)
    parts, reason = exported_parts(config, read_tensors(checkpoint / MODEL_FILE))
    manifest = verify(checkpoint)
    records = results_of(config, manifest, results)
    pending: dict[Path, dict[str, bytes]] = {}
    for part, weights in parts.items():
        is_scaled = part == "generator" and "discriminator" in parts  # not so in the masked-LM control
        shape = encoder.generator(config["pretrain"]["generator_size"]) if is_scaled else encoder
        description = their_config(part, shape, load_tokenizer(checkpoint).special_ids.pad)
        if part == "classifier":
            description |= label_config(config["labels"])
            description |= {"finetuning_task": config["task"], "score_range": config["score_range"]}
        contents = {
            "README.md": model_card(part, config, manifest, encoder, records).encode(),
            "config.json": json_bytes(description),
            WEIGHTS_NAME: torch_bytes(to_theirs(part, weights)),
            **tokenizer_contents(checkpoint, encoder.max_position_embeddings),
        }
        if not _is_written(out / part, contents):
            pending[out / part] = contents
    for folder, contents in pending.items():
        write_folder(folder, contents)
    return {part: out / part for part in parts}, reason


def _is_written(folder: Path, contents: Mapping[str, bytes]) -> bool:
    """Whether an export that was interrupted has left these files here.

    Raises:
        FormatError: there is something else.
    """
    if not folder.exists():
        return False
    for name, content in contents.items():
        if not (folder / name).is_file() or (folder / name).read_bytes() != content:
            raise FormatError(f"{folder}: exists already and is not what this export writes ({name} differs); "
                              "name another --out, or remove the folder")  # fmt: skip
    return True


def main_export(argv: Sequence[str]) -> None:
    """`python -m electra export`."""
    parser = Parser("python -m electra export", description="Write a checkpoint as folders that transformers opens.")
    parser.add_argument("--checkpoint", type=Path, help="a run or a checkpoint (default runs/pretrain)")
    parser.add_argument("--out", type=Path, required=True, help="where to make a folder for each part")
    parser.add_argument("--results", type=Path, help="results folder of train_glue.py, for the model card")
    args = parser.parse_args(argv)
    folders, reason = export(args.checkpoint or default_checkpoint(Path("runs/pretrain")), args.out, args.results)
    if reason:
        print(f"note: {reason}")
    for part, folder in folders.items():
        print(f"exported: {folder} ({PARTS[part].architecture}); its README.md is a model card: fill in the licence")


def main_import(argv: Sequence[str]) -> None:
    """`python -m electra import`."""
    parser = Parser("python -m electra import", description="Make a checkpoint of folders as transformers saves them.")
    parser.add_argument("folders", nargs="+", type=Path, help="discriminator and generator, or a classifier; "
                        "or a folder that holds them")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to make")
    args = parser.parse_args(argv)
    parts = import_folders(args.folders, args.out)
    for folder in parts.values():
        if len(folder.files) > 1:
            others = ", ".join(file.name for file in folder.files[1:])
            print(f"note: {folder.files[0]} was read, as transformers does; {others} beside it was not")
    if "discriminator" in parts and "generator" not in parts:
        print("note: there is no generator: the checkpoint can be fine-tuned, not trained further")
    print(f"imported: {args.out} ({', '.join(parts)})")
