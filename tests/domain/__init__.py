"""Tests of HQ's judgement."""
