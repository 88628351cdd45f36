"""Packaging: `pip install -e .` for use, `pip install -e '.[test]'` for the tests."""

from setuptools import find_packages, setup

setup(
    name="electra-replication",
    version="0.1.0",
    description="A replication of ELECTRA-Small in pure PyTorch: tokenizer, pre-training, GLUE",
    packages=find_packages(include=["electra", "electra.*"]),
    package_data={"electra": ["pretrained/*/*"], "electra.report": ["*.csv"]},
    python_requires=">=3.10",
    # torch is bounded above on purpose: exact resume is tested on these versions only.
    install_requires=["torch>=2.6,<2.14", "numpy", "regex", "tqdm", "scipy>=1.15"],
    extras_require={
        "plots": ["matplotlib"],
        "track": ["wandb", "tensorboard"],
        "test": ["pytest>=8", "pytest-timeout", "pytest-xdist", "hypothesis"],
        "oracle": ["transformers>=4.40", "tokenizers>=0.19", "safetensors"],
        "dev": ["ruff", "mypy", "types-tqdm", "types-regex"],
    },
)
