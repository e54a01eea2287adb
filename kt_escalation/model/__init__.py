"""What a record is: its keys, words, ids and times, and its canonical form. Pure values."""
