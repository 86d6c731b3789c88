"""What a study is: its config, its grid of edits and measurements, its paths. No torch here."""
