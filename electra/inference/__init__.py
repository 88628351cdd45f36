"""Use a trained model from Python: `detect` replaced tokens, `embed` texts, `predict` labels or scores."""

from electra.inference.predict import detect, embed, open_classifier, open_detector, open_encoder, predict

__all__ = ["detect", "embed", "open_classifier", "open_detector", "open_encoder", "predict"]
