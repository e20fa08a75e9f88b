"""The smallest networks in the formats of the published files: built on the spot, for tests of several folders.

onnx files: tests/support/tiny_onnx.py; Qwen2.5-VL: tests/support/tiny_vlm.py; SyncNet:
tests/support/made_up_syncnet.py.
"""
