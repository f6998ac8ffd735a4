-- Whether an event is there that a run waits for; registers the run's interest first, if a seq is given.
-- KEYS: waiting, log for all, log for this run
-- ARGV: one argument, packed: run, after, seq
local wait = cmsgpack.unpack(ARGV[1])
if wait.seq ~= '' then
  redis.call('HSET', KEYS[1], wait.run, wait.seq)
end
local after = '(' .. wait.after
for n = 2, 3 do
  if redis.call('ZRANGEBYSCORE', KEYS[n], after, '+inf', 'LIMIT', 0, 1)[1] then
    return 1
  end
end
return 0
