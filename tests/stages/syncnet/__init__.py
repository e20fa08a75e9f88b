"""Tests of stages/syncnet."""
