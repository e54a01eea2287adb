"""What a record is: its keys, vocabulary, ids and times, and its canonical text. Pure values, no IO."""
