"""The recipe of models/tiny: a whole text-to-image family trained from openly licensed emoji drawings."""
