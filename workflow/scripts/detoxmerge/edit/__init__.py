"""What an edit is, how it is loaded and built, and the methods that make one."""
