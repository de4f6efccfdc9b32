from patterns_windows import patterns_model, recognizer

__all__ = ["patterns_model", "recognizer"]
