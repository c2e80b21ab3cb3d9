"""HQ: the contract it shares with minions, its judgement, its store and its doors."""
