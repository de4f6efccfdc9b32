"""What a learned policy has to beat: fixed settings, hand rules, searches, and oracles."""
