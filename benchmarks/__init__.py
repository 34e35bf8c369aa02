"""Side-by-side measurements, run by hand: ratios and medians, never tests."""
