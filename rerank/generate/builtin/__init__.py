"""The generator that comes with Kallos, served by ONNX Runtime; `torch_pipeline` is the same for training."""
