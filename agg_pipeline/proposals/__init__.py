"""AGG: the stages chained over a shard, the run, and what its proposals are worth."""
