"""Small pinned models that need no hub: weights from package archives, mostly run by ONNX Runtime."""
