"""From N task vectors to one. No torch here: this is what `pip install` serves."""
