"""`lorakiln doctor`: does everything once, on little, with the product's own code, and says what is wrong."""
