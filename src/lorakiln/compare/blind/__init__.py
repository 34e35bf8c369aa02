"""`lorakiln blind`: pairs of pictures from hidden files, of which somebody chooses the better."""
