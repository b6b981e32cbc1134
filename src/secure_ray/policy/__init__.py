"""Pure decisions: which knobs of Ray are unsafe, what is refused, which versions, which ports."""
