"""MAV-Celeb, the data set of the FAME challenges: its layout, lists and checks."""
