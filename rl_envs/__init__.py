"""The simulated WAN in which the DWCP optimizer is trained."""
