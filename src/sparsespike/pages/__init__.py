"""Pages and figures: what a report and the reproduced paper are written with."""
