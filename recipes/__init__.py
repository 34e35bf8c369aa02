"""What made the models and data sets that travel with the code, so that anyone can make them again."""
