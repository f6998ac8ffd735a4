-- The end of a run's records: everything of it that lies in its own partition.
-- KEYS: run, journal, addressed, lane, lanes, created, ended, unfinished, stats, owners, pending, requested
-- ARGV: one argument, packed: id, rev, seq, place, lane. Answers 1, or 0 if the run has changed meanwhile.
local run, journal, addressed, lane, lanes, created, ended, unfinished, stats, _, pending, requested = unpack(KEYS)
local change = cmsgpack.unpack(ARGV[1])
local is = redis.call('HMGET', run, 'rev', 'seq', 'status')
if is[1] ~= change.rev or is[2] ~= change.seq then
  return 0
end
redis.call('HINCRBY', stats, is[3], -1)
redis.call('HINCRBY', stats, 'journal', -redis.call('LLEN', journal))
redis.call('DEL', run, journal, addressed)
redis.call('ZREM', created, change.id)
redis.call('ZREM', ended, change.id)
redis.call('ZREM', unfinished, change.id)
redis.call('ZREM', pending, change.id)
redis.call('SREM', requested, change.id)
if redis.call('ZREM', lane, change.place) == 1 and redis.call('EXISTS', lane) == 0 then
  redis.call('SREM', lanes, change.lane)
end
return 1
