"""Phrases: common English read as a schedule, and schedules said back in words; deterministic, never a guess."""

from server.contract.phrases.reading import LONGEST_PHRASE, Reading, read_phrase
from server.contract.phrases.said_back import describe

__all__ = ["LONGEST_PHRASE", "Reading", "describe", "read_phrase"]
