"""This package measures lip sync: face tracks, ways of comparing a mouth with a sound, and their lag curves.

Pure numpy (and torch for Light-ASD and SyncNet) on frames and samples; the caller hands in the path of any weights. No
columns, no policy, no choice between the methods: those belong to stages/sync.py.
"""
