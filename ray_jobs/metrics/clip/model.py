"""Embed images and texts of any length as unit vectors of one space, with a CLIP model.

The actors of `clip.stage` use this.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from ray_jobs.inputs.errors import InputError

TEXTS, IMAGES = 128, 32  # how many texts or images the model embeds at once
PREFIX = "A photo depicts "  # as in the reference implementation of CLIPScore


class ClipModel:
    """The model in a directory, on a GPU if there is one. Raises InputError if the directory has no CLIP model."""

    def __init__(self, path: Path, uri: str) -> None:
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            self.processor = AutoImageProcessor.from_pretrained(path, trust_remote_code=False)
            self.model, loading = CLIPModel.from_pretrained(path, trust_remote_code=False, output_loading_info=True)
        except Exception as error:
            message = " ".join(str(error).split())[:300]
            raise InputError(
                f"CLIP model {uri}: cannot be loaded ({message}); give `metrics.clip` a CLIPModel"
            ) from None
        if loading["missing_keys"]:
            lacking = sorted(loading["missing_keys"])[0]
            raise InputError(f"CLIP model {uri}: it lacks weights ({lacking}); give `metrics.clip` a CLIPModel")
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = self.model.eval().to(self.device)
        self.window = self.model.config.text_config.max_position_embeddings - 2  # without the tokens at the two ends

    def embed_images(self, files: Sequence[bytes]) -> np.ndarray:
        """A unit vector for each encoded image, shape (images, dimensions)."""
        vectors = []
        for batch in _batches(files, IMAGES):
            pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in batch]
            vectors.append(self._embed(self.model.get_image_features, self.processor(pictures, return_tensors="pt")))
        return np.concatenate(vectors) if vectors else np.zeros((0, self.model.config.projection_dim))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """A unit vector for each text, shape (texts, dimensions).

        The model reads a limited number of tokens (77 for CLIP's own models). A longer text is split into windows, and
        nothing is cut. The text's vector is the mean of the windows' unit vectors, weighted by their numbers of tokens
        and scaled to length 1.
        """
        windows: list[list[int]] = []
        owner: list[int] = []
        for number, text in enumerate(texts):
            tokens = self.tokenizer(PREFIX + text, add_special_tokens=False, verbose=False)["input_ids"]
            for start in range(0, max(len(tokens), 1), self.window):
                windows.append(tokens[start : start + self.window])
                owner.append(number)
        vectors = [self._embed_windows(batch) for batch in _batches(windows, TEXTS)]
        if not vectors:
            return np.zeros((0, self.model.config.projection_dim))
        weighted = np.concatenate(vectors) * np.array([max(len(window), 1) for window in windows])[:, None]
        sums = np.zeros((len(texts), weighted.shape[1]))
        np.add.at(sums, owner, weighted)
        return _unit(sums)

    def _embed_windows(self, windows: Sequence[Sequence[int]]) -> np.ndarray:
        first, last = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        rows = [[first, *window, last] for window in windows]
        longest = max(map(len, rows))
        padded = [row + [last] * (longest - len(row)) for row in rows]  # the mask hides the padding
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        inputs = {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)}
        return self._embed(self.model.get_text_features, inputs)

    def _embed(self, features: Any, inputs: Any) -> np.ndarray:
        with torch.inference_mode():
            output = features(**{name: value.to(self.device) for name, value in inputs.items()})
        return _unit(getattr(output, "pooler_output", output).float().cpu().numpy().astype(float))


def _batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = vectors / np.maximum(length, 1e-12)
    return unit
