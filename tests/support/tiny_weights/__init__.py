"""The smallest networks in the formats of the published files are built here, for tests of several folders.

Others are in tests/support/tiny_onnx.py (onnx files), tests/support/tiny_vlm.py (Qwen2.5-VL) and
tests/support/made_up_syncnet.py (SyncNet).
"""
