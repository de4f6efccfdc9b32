"""The bandwidth forecaster: an LSTM and a gradient-boosted twin, blended and calibrated."""
