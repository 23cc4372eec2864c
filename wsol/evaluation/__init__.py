"""The main job: from a data set and a network, or from score maps and boxes, to a run folder."""
