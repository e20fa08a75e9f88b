"""This package runs networks: it chooses the device and opens sessions of ONNX Runtime and TensorFlow Lite."""
