"""People in the loop: lots drawn from what a stage kept or dropped, answers of annotators, gates that stages pass."""
