"""Commands `export` and `import`: turn checkpoints into Hugging Face folders, and folders into checkpoints.

A folder holds config.json, the weights and the tokenizer's files. The discriminator and the generator have one folder
each, as in the release. Each folder holds a copy of the shared embeddings; an import checks that the copies are equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from electra.cli import Parser, differences
from electra.config import EncoderConfig
from electra.files import FormatError, json_bytes
from electra.hub.card import model_card
from electra.hub.names import PARTS, from_theirs, label_config, read_config, read_labels, their_config, to_theirs
from electra.tokenizer.byte_level import SPECIAL_TOKENS, Tokenizer
from electra.tokenizer.json_format import UNKNOWN
from electra.tokenizer.wordpiece import load_tokenizer, tokenizer_file
from electra.training import checkpoint

WEIGHTS_NAME = "pytorch_model.bin"
WEIGHT_FILES = ("model.safetensors", WEIGHTS_NAME)
"""Files that can hold the weights. The first file in this list that exists is read, as in transformers."""


def read_weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """Return the weights file of a folder and its tensors. Damage or code raises FormatError; code is never run."""
    file = next((folder / name for name in WEIGHT_FILES if (folder / name).exists()), None)
    if file is None:
        problem = f"expected {' or '.join(WEIGHT_FILES)}, found none"
        raise FileNotFoundError(f"{folder}: {problem}; get one of them (weights in several files: save them as one)")
    if file.name == WEIGHTS_NAME:
        return file, checkpoint.read_tensors(file)
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        remedy = f"pip install safetensors, or save the model as {WEIGHTS_NAME}"
        raise FormatError(f"{file}: expected the safetensors package, found none; {remedy}") from None
    try:
        return file, load_file(file)
    except SafetensorError as error:
        raise FormatError(f"{file}: expected safetensors, found a damaged file ({error}); restore it") from None


class HubFolder(NamedTuple):
    """The contents of a Hugging Face folder, after all checks."""

    folder: Path
    part: str  # a key of PARTS
    encoder: EncoderConfig
    config: Mapping[str, Any]  # contents of config.json
    weights: Mapping[str, Tensor]  # {our name without the prefix of the part: tensor}
    fingerprint: str  # fingerprint of the tokenizer


def read_folder(folder: Path) -> HubFolder:
    """Read one folder. Raises FileNotFoundError or FormatError if a file is missing or does not fit config.json."""
    part, encoder, config = read_config(folder / "config.json")
    labels = read_labels(config, folder / "config.json") if part == "classifier" else []
    file, tensors = read_weights(folder)
    weights = from_theirs(part, tensors, encoder, len(labels), file)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size != encoder.vocab_size:
        problem = f"the model's {encoder.vocab_size:,} words, found one with {tokenizer.vocab_size:,}"
        raise FormatError(f"{folder}: expected a tokenizer with {problem}; use the tokenizer of the model's training")
    return HubFolder(folder, part, encoder, config, weights, tokenizer.fingerprint)


def generator_size(discriminator: HubFolder, generator: HubFolder) -> float:
    """Return a generator's width divided by its discriminator's; FormatError if the two do not belong together."""
    size = generator.encoder.hidden_size / discriminator.encoder.hidden_size
    wrong = differences(generator.encoder, discriminator.encoder.generator(size))
    wrong += [
        f"{name} differs"
        for name, tensor in generator.weights.items()
        if name.startswith("encoder.embeddings.") and not torch.equal(tensor, discriminator.weights[name])
    ]
    if generator.fingerprint != discriminator.fingerprint:
        wrong.append("the tokenizer differs")
    if wrong:
        problem = f"expected the generator of {discriminator.folder}, found another: {'; '.join(wrong)}"
        raise FormatError(f"{generator.folder}: {problem}; import the discriminator alone")
    return size


def checkpoint_settings(parts: Mapping[str, HubFolder]) -> dict[str, Any]:
    """Return the settings of an imported checkpoint, without the pre-training settings that its folders do not give."""
    folder = next(iter(parts.values()))
    length = folder.config.get("max_seq_length")
    if "classifier" in parts:
        labels = read_labels(folder.config, folder.folder / "config.json")
        finetune = {"pooling": "first", "head": "mlp", "token_types": True, "precision": "fp32"}
        return {
            "finetune": {**finetune, "max_seq_length": length or folder.encoder.max_position_embeddings},
            "task": folder.config.get("finetuning_task") or "",
            "labels": labels if len(labels) > 1 else [],
            "score_range": folder.config.get("score_range") or [0.0, 1.0],
        }
    pretrain: dict[str, Any] = {"seq_length": length} if length else {}
    if len(parts) == 2:
        pretrain["generator_size"] = generator_size(*parts.values())
    elif "generator" in parts:
        pretrain["objective"] = "mlm"
    return {"pretrain": pretrain}


def import_folders(folders: Sequence[Path], out: Path) -> dict[str, HubFolder]:
    """Make a checkpoint from a discriminator and its generator, or from one part; return {part: folder}.

    A generator alone becomes a masked LM. Raises FileNotFoundError or FormatError, before anything is written, if a
    folder is incomplete, if the parts are not of one model, or if `out` exists.
    """
    if out.exists():
        raise FormatError(f"{out}: exists already; name another --out, or remove it")
    read = [read_folder(folder) for folder in folders]
    parts = {folder.part: folder for folder in sorted(read, key=lambda folder: folder.part)}
    if len(parts) < len(read) or (len(parts) > 1 and [*parts] != ["discriminator", "generator"]):
        names, found = ", ".join(map(str, folders)), ", ".join(folder.part for folder in read)
        problem = f"expected a discriminator and its generator, or one part, found {found}"
        raise FormatError(f"{names}: {problem}; name the folders of one model")
    first = next(iter(parts.values()))
    tokenizer = tokenizer_file(first.folder)
    weights = {PARTS[part].our_prefix + name: t for part, found in parts.items() for name, t in found.weights.items()}
    shape = dataclasses.asdict(first.encoder)
    settings = {"encoder": shape, **checkpoint_settings(parts), "tokenizer": first.fingerprint}
    contents = {checkpoint.CONFIG_FILE: json_bytes(settings), checkpoint.MODEL_FILE: checkpoint.torch_bytes(weights)}
    contents[tokenizer.name] = tokenizer.read_bytes()
    checkpoint.save_checkpoint(out, contents, {"step": 0, "imported_from": [str(p.folder) for p in parts.values()]})
    return parts


def tokenizer_contents(folder: Path, max_length: int) -> dict[str, bytes]:
    """Return {name: bytes} of the tokenizer's files: our file unchanged, and tokenizer_config.json for `AutoTokenizer`.

    Without `tokenizer_class`, `AutoTokenizer` would use WordPiece for model type "electra". Without
    `model_input_names`, it would leave out token types, so the second text of a pair would have type 0.
    """
    file = tokenizer_file(folder)
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


def split_parts(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], str]:
    """Return {part: {our name: tensor}} of a checkpoint, and the reason why a part is left out, or ""."""

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}

    if "finetune" in config:
        how = {name: config["finetune"][name] for name in ("pooling", "head", "token_types")}
        if how == {"pooling": "first", "head": "mlp", "token_types": True}:
            return {"classifier": dict(weights)}, ""
        return {"encoder": {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}}, (
            f"transformers has no classifier with {', '.join(f'{name} {value}' for name, value in how.items())} "
            "(only first, mlp, True): the encoder is exported alone"
        )
    discriminator, generator = under("discriminator."), under("generator.")
    if discriminator and "dense.weight" not in discriminator:
        return {"encoder": discriminator}, ""
    found = {"discriminator": discriminator, "generator": generator}
    return {part: tensors for part, tensors in found.items() if tensors}, ""


def export(path: Path, out: Path) -> tuple[dict[str, Path], str]:
    """Write a folder under `out` for each part of a checkpoint.

    Returns {part: folder} and the reason why a part is missing ("" if none is missing). If the checkpoint is
    missing or damaged, or a folder exists, it raises FileNotFoundError or FormatError and writes nothing.
    """
    source = checkpoint.resolve_checkpoint(path)
    config, manifest = checkpoint.read_settings(source), checkpoint.verify(source)
    encoder, length = checkpoint.load_encoder_config(source), checkpoint.max_seq_length(config)
    parts, reason = split_parts(config, checkpoint.read_tensors(source / checkpoint.MODEL_FILE))
    folders = {part: out / part for part in parts}
    if found := [folder for folder in folders.values() if folder.exists()]:
        raise FormatError(f"{found[0]}: exists already; name another --out, or remove the folder")
    for part, weights in parts.items():
        is_scaled = part == "generator" and "discriminator" in parts
        shape = encoder.generator(config["pretrain"]["generator_size"]) if is_scaled else encoder
        description = their_config(part, shape, load_tokenizer(source).special_ids.pad) | {"max_seq_length": length}
        if part == "classifier":
            description |= label_config(config["labels"])
            description |= {"finetuning_task": config["task"], "score_range": config["score_range"]}
        contents = {
            "README.md": model_card(part, config, manifest, encoder).encode(),
            "config.json": json_bytes(description),
            WEIGHTS_NAME: checkpoint.torch_bytes(to_theirs(part, weights)),
            **tokenizer_contents(source, length),
        }
        checkpoint.write_folder(folders[part], contents)
    return folders, reason


def main_export(argv: Sequence[str]) -> None:
    """Run `python -m electra export`."""
    parser = Parser("python -m electra export", description="Write a checkpoint as folders that transformers opens.")
    parser.add_argument("--checkpoint", type=Path, help="a run or a checkpoint (default runs/pretrain)")
    parser.add_argument("--out", type=Path, required=True, help="where to make a folder for each part")
    args = parser.parse_args(argv)
    folders, reason = export(args.checkpoint or checkpoint.default_checkpoint(Path("runs/pretrain")), args.out)
    if reason:
        print(f"note: {reason}")
    for part, folder in folders.items():
        print(f"exported: {folder} ({PARTS[part].architecture}); fill in results and licence in its README.md")


def main_import(argv: Sequence[str]) -> None:
    """Run `python -m electra import`."""
    parser = Parser("python -m electra import", description="Make a checkpoint of folders that transformers saved.")
    parser.add_argument("folders", nargs="+", type=Path, help="folders of discriminator and generator, or of one part")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to make")
    args = parser.parse_args(argv)
    parts = import_folders(args.folders, args.out)
    if "discriminator" in parts and "generator" not in parts:
        print("note: there is no generator; --init-networks discriminator trains further with a new one")
    print(f"imported: {args.out} ({', '.join(parts)})")
