"""How networks run: on which device, and the sessions of ONNX Runtime and TensorFlow Lite."""
