-- A run's intent is done: it goes, or another takes its place; nothing if somebody else has done so.
-- KEYS: run, pending; ARGV: one argument, packed: id, was, value
local change = cmsgpack.unpack(ARGV[1])
if redis.call('HGET', KEYS[1], 'intent') ~= change.was then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'rev', 1)
if change.value == '' then
  redis.call('HDEL', KEYS[1], 'intent')
  redis.call('ZREM', KEYS[2], change.id)
else
  redis.call('HSET', KEYS[1], 'intent', change.value)
end
return 1
