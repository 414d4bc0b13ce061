"""The small pinned models that need no hub: weights from package archives, run by ONNX Runtime."""
