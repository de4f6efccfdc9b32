"""The models and the baselines each is measured against."""
