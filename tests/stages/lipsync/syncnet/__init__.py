"""Tests of stages/lipsync/syncnet."""
