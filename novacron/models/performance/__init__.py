"""The performance predictor: a level by hierarchy, and a recurrent network and trees on its rest."""
