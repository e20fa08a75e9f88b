"""The models that the paper names, each run through its own library: YOLO-World (ultralytics, AGPL-3.0), InsightFace
(models for non-commercial research), DWPose (rtmlib).

One module per model: numpy in, and a scorer that hands what it finds to the stage, whose columns and aggregation are
those of the lite backend. Nothing here is imported before the reference profile asks for it, but device.py.
"""
