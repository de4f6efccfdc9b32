"""Model versions: stored, described, compared, promoted and rolled back."""
