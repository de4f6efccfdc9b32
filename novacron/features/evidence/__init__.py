"""What a window of one series shows, whatever its unit, length and sampling step.

Every piece of evidence is a ratio, a count, a correlation or a test statistic: it stays the same
when the series is multiplied by a positive number, shifted, or given another clock.
"""
