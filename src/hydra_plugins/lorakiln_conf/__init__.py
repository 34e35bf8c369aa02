"""How both doors compose conf/ with Hydra: files are read strictly, and what is wrong is the user's to mend."""
