"""A minion and its HQ: how it joins, what it takes from there, what it tells."""
