"""The smallest networks in the formats of the published files: built on the spot, for tests of several folders.

onnx files: tests/stages/reference/tiny_onnx.py; Qwen2.5-VL: tests/stages/tiny_vlm.py; SyncNet:
tests/stages/syncnet/made_up.py.
"""
