"""Learned policies for DWCP's knobs, the guard that makes them safe, and the optimizer around them."""
