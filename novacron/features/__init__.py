"""One feature function for training, search and serving.

`spec` says what is computed; `windows.window_features` computes it; `matrix` feeds it whole series
and requests, `stream` ring buffers; `fingerprint` ties a model to it.
"""
